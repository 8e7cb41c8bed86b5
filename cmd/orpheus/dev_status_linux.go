package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// devStatus is what `dev status` shows.
type devStatus struct {
	devState
	// Agents answer by the name of their node; those that do not are missing.
	Agents map[string]*api.Status `json:"agents"`
}

func (d *dev) statusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes of the fleet, and what each of them runs",
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := d.alive()
			if err != nil {
				return err
			}
			st := devStatus{}
			if err := control(cmd.Context(), dir, "state", nil, &st.devState); err != nil {
				return err
			}
			st.Agents = askAgents(cmd.Context(), st.Nodes)
			if output == "json" {
				return writeJSON(d.stdout, st, false)
			}
			s := d.newScreen()
			drawFleet(s, st, d.now())
			return s.writeTo(d.stdout)
		},
	}
	addOutputFlag(cmd, &output, "text", "json")
	return cmd
}

// askTime is how long an agent may take to tell its status.
const askTime = 3 * time.Second

func askAgents(ctx context.Context, nodes []devNode) map[string]*api.Status {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	all := map[string]*api.Status{}
	for _, n := range nodes {
		asking.Go(func() {
			client, err := api.NewClient(n.Socket)
			if err != nil {
				return
			}
			defer client.Close()
			if st, err := client.Status(ctx); err == nil {
				mu.Lock()
				defer mu.Unlock()
				all[n.Name] = st
			}
		})
	}
	asking.Wait()
	return all
}

func drawFleet(s *screen, st devStatus, now time.Time) {
	s.labelled("FLEET", bold, fmt.Sprintf("%s, up for %s, supervisor %d", st.Name, age(now.Sub(st.StartedAt)), st.PID))
	s.labelled("GIT", plain, st.GitURL)
	if st.Registry != "" {
		s.labelled("REGISTRY", plain, st.Registry)
	}
	s.blank()
	t := table{titles: []string{"NODE", "STATE", "ADDRESS", "AGENT", "CONTAINERD", "PROCESSES", "COMMIT", "READY", "NOTE"}, spare: []int{5, 4, 3}}
	for _, n := range st.Nodes {
		state, shade, note := describeNode(n, st.Agents[n.Name])
		commit, ready := "", ""
		if a := st.Agents[n.Name]; a != nil {
			commit, ready = a.Repository.Applied.Short(), readiness(a)
		}
		t.add(note, noteColour(shade),
			cell{n.Name, plain}, cell{state, shade}, cell{n.Address, plain}, cell{number(n.Agent), plain}, cell{number(n.Containerd), plain},
			cell{number(len(n.Processes)), plain}, cell{commit, plain}, cell{ready, plain})
	}
	t.draw(s)
}

// number is empty for what is not there.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// describeNode is a node's state in one word, and what there is to add.
func describeNode(n devNode, agent *api.Status) (state string, shade colour, note string) {
	var notes []string
	if n.Cut != "" {
		notes = append(notes, "cut off from "+whom(string(n.Cut)))
	}
	state, shade = "on", green
	switch {
	case !n.On:
		state, shade = "off", red
	case n.Agent == 0:
		state, shade = "no agent", red
	case agent == nil:
		state, shade = "silent", yellow
		notes = append(notes, "its agent does not answer; see dev logs")
	default:
		if !asAsked(agent) {
			shade = yellow
		}
		for _, text := range []string{agent.Repository.Error, agent.Repository.Refused} {
			if text != "" {
				notes = append(notes, text)
			}
		}
		if k := broken(agent.Faults); k > 0 {
			notes = append(notes, count(k, "fault")+" in the manifests")
		}
		notes = append(notes, agent.Problems...)
	}
	if n.Cut != "" && shade == green {
		shade = yellow
	}
	return state, shade, strings.Join(notes, "; ")
}

// readiness counts the instances on a node that are ready, of those there.
func readiness(a *api.Status) string {
	ready, all := 0, 0
	for _, service := range a.Services {
		all += len(service.Instances)
		for _, i := range service.Instances {
			if phaseColour(i.Phase) == green {
				ready++
			}
		}
	}
	return fmt.Sprintf("%d/%d", ready, all)
}

func (d *dev) logsCommand() *cobra.Command {
	var tail int
	var follow bool
	cmd := &cobra.Command{
		Use:               "logs NODE",
		Short:             "Print what a node's agent has logged",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: d.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := d.dir()
			if err != nil {
				return err
			}
			if !nodeName.MatchString(args[0]) {
				return usageError(fmt.Errorf("%q is no name of a node", args[0]))
			}
			// By the file: also of a fleet whose supervisor has died.
			f, err := os.Open(filepath.Join(dir, devFleet, args[0], "agent.log"))
			if errors.Is(err, fs.ErrNotExist) {
				if _, err := os.Lstat(dir); err != nil {
					return d.errNoFleet()
				}
				return fmt.Errorf("there is no node %q that ever ran an agent; see \"orpheus dev status\"", args[0])
			} else if err != nil {
				return err
			}
			defer f.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return printLog(ctx, d.stdout, f, tail, follow)
		},
	}
	cmd.Flags().IntVarP(&tail, "tail", "n", 100, "only so many last `lines`; 0 = all")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	return cmd
}

// logLook is how often a log that is followed is looked at.
const logLook = 200 * time.Millisecond

// printLog prints the end of a log, and with follow what comes.
func printLog(ctx context.Context, w io.Writer, f *os.File, tail int, follow bool) error {
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(text), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	if tail > 0 {
		lines = lines[max(0, len(lines)-tail):]
	}
	if _, err := io.WriteString(w, strings.Join(lines, "")); err != nil {
		return err
	}
	for follow {
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		select {
		case <-time.After(logLook):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
