package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// says is the answer to a check, or what came in its place.
func (f *fleet) says(ctx context.Context, r composeRun, c composeCheck) string {
	words := strings.Fields(c.ask)
	switch {
	case c.service != "":
	case words[0] == "tcp":
		return f.fromOutside(func(node string) string { return page(ctx, net.JoinHostPort(node, words[1])) })
	case words[0] == "udp":
		return f.fromOutside(func(node string) string { return datagramTo(net.JoinHostPort(node, words[1])) })
	default: // closed
		return f.fromOutside(func(node string) string {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(node, words[1]), time.Second)
			if err != nil {
				return "closed"
			}
			conn.Close()
			return "open"
		})
	}
	id := r.id(c.service)
	at := f.instanceOf(ctx, id)
	switch {
	case words[0] == "logs":
		var all strings.Builder
		for _, n := range f.Nodes {
			all.WriteString(f.runOrpheus(ctx, "logs", id.String(), "--socket", n.Socket()))
		}
		return all.String()
	case at == nil:
		return "it runs nowhere"
	case words[0] == "end":
		return f.startedAgain(ctx, id, *at)
	case words[0] == "after":
		other := f.instanceOf(ctx, r.id(words[1]))
		if other == nil || !other.StartedAt.Before(at.StartedAt) {
			return "before it"
		}
		return "after"
	}
	return strings.TrimSpace(f.runOrpheus(ctx, append([]string{"exec", id.String(), "--socket", at.socket, "--", "/usr/local/bin/probe"}, asWords(c.ask)...)...))
}

// asWords are the words of a question; the third is all that is left.
func asWords(ask string) []string { return strings.SplitN(ask, " ", 3) }

// id is the service's of a run; those of other projects have a namespace.
func (r composeRun) id(name string) planner.ServiceID {
	for id := range r.services {
		return planner.ServiceID{Namespace: id.Namespace, Name: name}
	}
	return planner.ServiceID{Name: name}
}

// fromOutside is what all nodes answer, if it is one thing.
func (f *fleet) fromOutside(ask func(node string) string) string {
	var all []string
	for _, n := range f.Nodes {
		all = append(all, ask(n.Address.Addr().String()))
	}
	return strings.Join(slices.Compact(all), " | ")
}

func page(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/env?name=VERSION", nil)
	if err != nil {
		return err.Error()
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	return strings.TrimSpace(string(text))
}

func datagramTo(address string) string {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	buf := make([]byte, 1<<10)
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err = conn.Write([]byte("hello")); err == nil {
		var n int
		if n, err = conn.Read(buf); err == nil {
			return string(buf[:n])
		}
	}
	return err.Error()
}

// placedInstance is a ready instance, and where its agent is asked.
type placedInstance struct {
	api.Instance
	socket string
}

// instanceOf is a ready instance of a service; nil = there is none.
func (f *fleet) instanceOf(ctx context.Context, id planner.ServiceID) *placedInstance {
	for k, st := range f.Statuses(ctx) {
		if st == nil {
			continue
		}
		for _, s := range st.Services {
			for _, i := range s.Instances {
				if s.Namespace == id.Namespace && s.Name == id.Name && i.Phase == planner.PhaseReady {
					return &placedInstance{i, f.Nodes[k].Socket()}
				}
			}
		}
	}
	return nil
}

// startedAgain has the program of an instance end, and waits until it is back.
func (f *fleet) startedAgain(ctx context.Context, id planner.ServiceID, was placedInstance) string {
	out := f.runOrpheus(ctx, "exec", id.String(), "--socket", was.socket, "--", "/usr/local/bin/probe", "end")
	for ctx.Err() == nil {
		if is := f.instanceOf(ctx, id); is != nil && is.StartedAt.After(was.StartedAt) {
			return "again"
		}
		time.Sleep(200 * time.Millisecond)
	}
	return "it was not started again: " + out
}

// runOrpheus is all that orpheus writes; another exit code than 0 stands behind it.
func (f *fleet) runOrpheus(ctx context.Context, args ...string) string {
	cmd := exec.CommandContext(ctx, orpheus, args...)
	cmd.Dir = f.Dir // or it takes this repository for a fleet
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "COLUMNS=160")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(&out, "(%v)", err)
	}
	return out.String()
}
