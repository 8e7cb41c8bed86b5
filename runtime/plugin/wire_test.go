package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// fill sets every field below v to something of its own, so that a field which
// is added to the contract and not to the protocol is found.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if t, ok := v.Addr().Interface().(*time.Time); ok {
			*t = time.Unix(*n, *n).UTC()
			return
		}
		for k := range v.NumField() {
			fill(v.Field(k), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(*n)
	default:
		panic("fill does not know " + v.Type().String())
	}
}

// Every field of a workload arrives.
func TestWorkloadArrives(t *testing.T) {
	var sent runtime.Workload
	n := int64(0)
	fill(reflect.ValueOf(&sent).Elem(), &n)
	for _, w := range []runtime.Workload{sent, {}} {
		var message pluginpb.Workload
		transmit(t, toWorkload(w), &message)
		if got := fromWorkload(&message); !reflect.DeepEqual(got, w) {
			t.Errorf("sent\n%+v, arrived\n%+v", w, got)
		}
	}
	fromWorkload(nil) // of a request without one
}

// Every field of an instance arrives; its driver is as the agent calls it.
func TestInstanceArrives(t *testing.T) {
	var sent planner.Instance
	n := int64(0)
	fill(reflect.ValueOf(&sent).Elem(), &n)
	sent.ID, sent.State = "a", planner.StateExited
	sent.Exit.Code, sent.Exit.Signal = 137, 9
	for k := range sent.Containers {
		c := &sent.Containers[k]
		c.State, c.Exit.Code, c.Exit.Signal = planner.StateExited, 3, 0
		c.Exposed = []planner.ImagePort{{Port: 53, Protocol: "udp"}, {Port: 65535, Protocol: "tcp"}}
	}
	var message pluginpb.Instance
	transmit(t, toInstance(sent), &message)
	got, err := fromInstance("example", &message)
	want := sent
	want.Driver = "example"
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("sent\n%+v, arrived\n%+v, %v", sent, got, err)
	}
	if _, err := fromInstance("example", nil); err == nil {
		t.Error("no instance is taken for one")
	}
}

func transmit(t *testing.T, from, to proto.Message) {
	t.Helper()
	data, err := proto.Marshal(from)
	if err == nil {
		err = proto.Unmarshal(data, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Fields of a later protocol are ignored.
func TestUnknownFields(t *testing.T) {
	data, err := proto.Marshal(toInstance(planner.Instance{ID: "a", State: planner.StateRunning}))
	if err != nil {
		t.Fatal(err)
	}
	later := []byte{0xa2, 0x06, 0x03, 'n', 'e', 'w'} // field 100
	var message pluginpb.Instance
	if err := proto.Unmarshal(append(data, later...), &message); err != nil {
		t.Fatal(err)
	}
	if i, err := fromInstance("example", &message); err != nil || i.ID != "a" {
		t.Errorf("%+v, %v", i, err)
	}
}

// Errors arrive as all the classes that they are, and as no other.
func TestErrorsArrive(t *testing.T) {
	all := []error{
		runtime.ErrNotFound, runtime.ErrUnavailable, runtime.ErrInvalid, runtime.ErrUnauthorized,
		errors.ErrUnsupported, context.Canceled, context.DeadlineExceeded,
	}
	for pattern := range 1 << len(all) {
		sent := []error{errors.New("text")}
		for k, err := range all {
			if pattern&(1<<k) != 0 {
				sent = append(sent, err)
			}
		}
		got := fromStatus(t.Context(), toStatus(errors.Join(sent...)))
		for k, err := range all {
			if want := pattern&(1<<k) != 0; errors.Is(got, err) != want {
				t.Errorf("sent %v, arrived %v: is %v: %t", sent, got, err, !want)
			}
		}
		if got.Error() != errors.Join(sent...).Error() {
			t.Errorf("sent %q, arrived %q", errors.Join(sent...), got)
		}
	}
	if toStatus(nil) != nil || fromStatus(t.Context(), nil) != nil {
		t.Error("success arrives as an error")
	}
}

// Whatever a plugin lists, the agent gets what it can use, or an error.
func FuzzInstance(f *testing.F) {
	seed, err := proto.Marshal(toInstance(planner.Instance{
		ID: "a", State: planner.StateExited, Exit: &planner.Exit{Code: 1}, Containers: []planner.ContainerState{{Name: "main", PID: 7, State: planner.StateRunning}},
	}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		var message pluginpb.Instance
		if proto.Unmarshal(data, &message) != nil {
			return
		}
		i, err := fromInstance("example", &message)
		if err != nil {
			return
		}
		if !validID(i.ID) || i.Driver != "example" || i.GracePeriod < 0 || (i.Exit != nil) != (i.State == planner.StateExited) {
			t.Errorf("accepted: %+v", i)
		}
		for _, c := range i.Containers {
			if c.PID < 0 || (c.Exit != nil) != (c.State == planner.StateExited) {
				t.Errorf("accepted: %+v", c)
			}
		}
	})
}
