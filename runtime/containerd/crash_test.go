//go:build linux

package containerd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// childEnv makes the test binary an agent that does one thing and is killed.
const childEnv = "ORPHEUS_TEST_CHILD"

// order is what a child is to do.
type order struct {
	Verb     string
	Address  string
	StateDir string
	Cgroup   string
	Workload runtime.Workload
}

func childMain() {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &o); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	d, err := New(Config{Address: o.Address, StateDir: o.StateDir, Cgroup: o.Cgroup})
	if err == nil {
		fmt.Println("go")
		switch o.Verb {
		case "prepare":
			_, err = d.Prepare(context.Background(), o.Workload, nil)
		case "start":
			err = d.Start(context.Background(), o.Workload)
		case "exec":
			in, _ := io.Pipe() // nobody types
			_, err = d.Exec(context.Background(), o.Workload.ID, "", []string{"/payload", "cat"}, runtime.Streams{In: in})
		case "remove":
			err = d.Remove(context.Background(), o.Workload.ID)
		}
	}
	fmt.Println("done", err)
	select {} // until killed
}

// child runs an agent with an order; the channel gives what it says.
func (b *bench) child(t *testing.T, verb string, w runtime.Workload) (kill func(), says <-chan string) {
	t.Helper()
	cfg := b.config()
	o, err := json.Marshal(order{verb, cfg.Address, cfg.StateDir, cfg.Cgroup, w})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+string(o))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 4)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return func() {
		_ = cmd.Process.Kill()
		for range lines {
			continue
		}
		_ = cmd.Wait()
	}, lines
}

// An agent is killed at every point of a start: what it leaves is listed or
// nothing, a later agent starts the instance over, and Sweep leaves nothing.
func TestKilledInTheMiddleOfAStart(t *testing.T) {
	b := testBench(t)
	before := b.everything(t)
	d := b.driver(t)
	states := map[planner.InstanceState]int{}
	for i := range 16 {
		w := twoContainers(b.workload(t, "lines"))
		if _, err := d.Prepare(t.Context(), w, nil); err != nil {
			t.Fatal(err)
		}
		kill, says := b.child(t, "start", w)
		<-says
		// The point where it is cut off; a start takes about 150 ms.
		select {
		case <-says:
		case <-time.After(time.Duration(i) * 12 * time.Millisecond):
		}
		kill()

		late := b.driver(t)
		in := find(t, late, w.ID)
		if in == nil {
			states["nothing"]++
		} else {
			states[in.State]++
			if in.Slot != w.Slot || in.Token != w.Token || in.State == planner.StateExited {
				t.Errorf("cut off after %d ms it is listed as %+v", i*12, *in)
			}
		}
		if i%2 == 0 { // the one way on: start it again
			if err := late.Start(t.Context(), w); err != nil {
				t.Fatalf("cut off after %d ms, it cannot be started: %v", i*12, err)
			}
			if in := find(t, late, w.ID); in == nil || in.State != planner.StateRunning || len(in.Containers) != 2 {
				t.Errorf("started again it is listed as %+v", in)
			}
		}
		// The other: forget it. The server may still be carrying out the last
		// request of the killed agent, whose result the next sweep finds.
		eventually(t, fmt.Sprintf("cut off after %d ms and swept, nothing is left", i*12), func() bool {
			if err := late.Sweep(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			return slices.Equal(before, b.everything(t))
		})
	}
	t.Logf("states found: %v", states)
}

func TestKilledInTheMiddleOfARemove(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	for i := range 6 {
		w := b.workload(t, "lines")
		start(t, d, w)
		kill, says := b.child(t, "remove", w)
		<-says
		select {
		case <-says:
		case <-time.After(time.Duration(i) * 12 * time.Millisecond):
		}
		kill()
		if err := b.driver(t).Remove(t.Context(), w.ID); err != nil {
			t.Fatal(err)
		}
		if in := find(t, d, w.ID); in != nil {
			t.Errorf("removed, but listed: %+v", *in)
		}
	}
}

// An agent is killed while a layer arrives: its lease and the part that has
// arrived do not stay for a day.
func TestKilledInTheMiddleOfAPull(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	image := imagetest.Options{Binary: b.payload, Padding: 4 << 20, Files: map[string]string{"/pull": t.Name()}}
	r, ref, digest := newRegistry(t, imagetest.RegistryOptions{}, image)
	layer := layerOf(t, image)
	half := make(chan struct{})
	var once sync.Once
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.HasSuffix(req.URL.Path, layer) {
			return false
		}
		w.Header().Set("Content-Length", "4194304")
		_, _ = w.Write(make([]byte, 1<<20))
		w.(http.Flusher).Flush()
		once.Do(func() { close(half) })
		<-req.Context().Done()
		return true
	})
	w := of(ref, "")
	kill, says := b.child(t, "prepare", w)
	<-says
	<-half
	eventually(t, "a lease and a partial download are there", func() bool {
		all := strings.Join(b.everything(t), "\n")
		return strings.Contains(all, "lease orpheus-pull-") && strings.Contains(all, "partial download")
	})
	kill()
	r.Intercept(nil)

	// One way on: somebody else pulls it, over what is there.
	late := b.driver(t)
	if got, err := late.Prepare(t.Context(), w, nil); err != nil || got[ref] != digest {
		t.Fatalf("pull after a pull that was cut off: %v, %v", got, err)
	}
	// And for what nobody pulls again there is Sweep; the rest of the test is
	// leavesNothing's.
	if err := late.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// layerOf is the digest of an image's last layer.
func layerOf(t *testing.T, o imagetest.Options) string {
	t.Helper()
	img, err := imagetest.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[len(layers)-1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}
