package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

const exampleFleet = `apiVersion: orpheus/v1
kind: Fleet
metadata: {name: dev}
spec: {pollInterval: 2s}
`

// exampleService is one of this very program: there is no image to download.
const exampleService = `apiVersion: orpheus/v1
kind: Service
metadata: {name: hello}
spec:
  replicas: 2
%s`

// commitExample gives a fleet something to run. The note says what is missing
// from it, if anything.
func commitExample(c *devfleet.Cluster, opts serveOptions) (note string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	files := map[string]string{"fleet.yaml": exampleFleet}
	switch {
	case opts.Driver == planner.DriverProcess:
		// A port of its own for each instance: they may share a network.
		files["hello.yaml"] = fmt.Sprintf(exampleService, fmt.Sprintf("  driver: process\n  command: [%q, dev, hello, --listen, \"127.0.0.1:0\"]\n", exe))
	case !static(exe):
		note = "The example has no service, since this orpheus cannot run in an image: build it with CGO_ENABLED=0."
	default:
		ref, err := pushHello(c, exe)
		if err != nil {
			return "", err
		}
		files["hello.yaml"] = fmt.Sprintf(exampleService, fmt.Sprintf("  image: %s\n  ports:\n  - {name: http, containerPort: 8080, port: 80, publish: 8080}\n", ref))
	}
	_, err = c.Repo.Commit(files, "An example")
	return note, err
}

// pushHello puts this program into an image that says hello.
func pushHello(c *devfleet.Cluster, exe string) (ref string, err error) {
	img, err := imagetest.Build(imagetest.Options{Binary: exe, Entrypoint: []string{imagetest.Program, "dev", "hello"}})
	if err != nil {
		return "", err
	}
	ref, _, err = c.Registry.Push("hello:1", img)
	return ref, err
}

// static reports whether a program needs no other file to run.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// newHelloCommand is the program of the example.
func newHelloCommand(*env) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:    "hello",
		Short:  "Answer HTTP with a greeting, for the example of dev up",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return hello(ctx, address)
		},
	}
	cmd.Flags().StringVar(&address, "listen", ":8080", "where to answer")
	return cmd
}

func hello(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Printf("%s answers at http://%s\n", host, l.Addr())
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "Hello from %s, process %d.\n", host, os.Getpid())
	})}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
