//go:build linux

package plugin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
)

// order is what the helper process of an agent is told: a driver to make and
// workloads to start with it.
type order struct {
	Config    plugin.Config
	Workloads []runtime.Workload
}

// agentMain is an agent that waits to be killed, with calls under way.
func agentMain() {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		panic(err)
	}
	d, err := plugin.New(o.Config)
	if err != nil {
		panic(err)
	}
	for _, w := range o.Workloads {
		if _, err := d.Prepare(context.Background(), w, nil); err != nil {
			panic(err)
		}
		if err := d.Start(context.Background(), w); err != nil {
			panic(err)
		}
		go d.Wait(context.Background(), w.ID)
	}
	fmt.Println("ready")
	select {}
}

// killedAgent runs an agent until it has started the workloads, and kills it
// with kill -9.
func killedAgent(t *testing.T, c plugin.Config, workloads ...runtime.Workload) {
	t.Helper()
	in, to := io.Pipe()
	c.Log = nil
	agent := exec.Command("/proc/self/exe")
	agent.Env = append(os.Environ(), roleVariable+"=agent")
	agent.Stdin, agent.Stderr = in, t.Output()
	out := must(agent.StdoutPipe())
	check(t, agent.Start())
	go func() {
		json.NewEncoder(to).Encode(order{c, workloads})
		to.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Errorf("the agent says %q, %v", line, err)
	}
	check(t, agent.Process.Kill())
	agent.Wait()
}

// notAPlugin is a program that is started as a plugin and is none.
func notAPlugin(role string) {
	switch role {
	case "chatty":
		fmt.Println("hello")
	case "ends":
		fmt.Fprintln(os.Stderr, "last words")
	case "future":
		fmt.Println("1|2|unix|/nowhere|grpc|")
	case "elsewhere":
		fmt.Println("1|1|unix|/nowhere/socket|grpc|")
	case "old":
		fmt.Println("1|1|tcp|127.0.0.1:1|netrpc|")
	case "silent":
		select {}
	case "endless":
		for {
			fmt.Print("x")
		}
	}
	os.Exit(3)
}
