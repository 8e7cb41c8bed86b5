package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newAgentCheckCommand(e *env) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the agent's configuration and the files it names",
		Long: `Check the agent's configuration and the files it names, as an agent would read
them at its start. Nothing is changed and nobody is asked; "orpheus doctor" also
looks at the machine, the repository and the other nodes.

An agent that is started without one of the files keeps running what it ran, and
uses the file as soon as it can; a fault of the configuration itself ends it.

Exit codes: 0 nothing is wrong, 1 something is: every fault is listed.`,
		Example: "  orpheus agent check --config /etc/orpheus/agent.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := flags.load()
			if err == nil {
				err = errors.Join(c.startFaults()...)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.stdout, "fine: node %s follows %s\n", c.Node.Name, c.following())
			return err
		},
	}
	flags.add(cmd)
	return cmd
}

// following names what the node follows, for people.
func (c *config) following() string {
	text := c.git(slog.New(slog.DiscardHandler)).String()
	if c.Repository.Path != "." {
		text += ", folder " + c.Repository.Path
	}
	return text
}

// readable reports why a file cannot be read.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	return err
}

// walkFields visits what a configuration is made of, by the names it is
// written with: of structs their fields, of lists and maps each element, in the
// order of their keys, which are strings.
func walkFields(path string, v reflect.Value, visit func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walkFields(path, v.Elem(), visit)
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			walkFields(strings.TrimPrefix(path+"."+name, "."), value, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkFields(fmt.Sprintf("%s[%d]", path, i), v.Index(i), visit)
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			walkFields(fmt.Sprintf("%s[%s]", path, key), v.MapIndex(key), visit)
		}
	default:
		visit(path, v)
	}
}
