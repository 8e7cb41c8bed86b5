package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/runtime/plugin"
)

func newAgentCheckCommand(e *env) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the agent's configuration and the files it names",
		Long: `Check the agent's configuration and the files it names, as an agent would read
them at its start. Nothing is changed and nobody is asked; "orpheus doctor" also
looks at the machine, the repository and the other nodes.

Exit codes: 0 an agent can start with it, 1 it cannot: every fault is listed.`,
		Example: "  orpheus agent check --config /etc/orpheus/agent.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := flags.load()
			if err == nil {
				err = errors.Join(append(c.fileFaults(), c.git(slog.New(slog.DiscardHandler)).Check())...)
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

// fileFaults lists the files that the configuration names and an agent could
// not use. A field is a file's path if its name ends in File, and one other.
func (c *config) fileFaults() []error {
	var faults []error
	walkFields("", reflect.ValueOf(c).Elem(), func(field string, v reflect.Value) {
		isFile := strings.HasSuffix(field, "File") || field == "dockerConfig"
		if v.Kind() != reflect.String || v.String() == "" || !isFile {
			return
		}
		if err := readable(v.String()); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", field, err))
		}
	})
	for k, p := range c.Plugins {
		if err := plugin.CheckBinary(p.Path, p.SHA256); err != nil {
			faults = append(faults, fmt.Errorf("plugins[%d].path: %w", k, err))
		}
	}
	return faults
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
// written with: of structs their fields, of lists and maps each element.
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
		for entry := v.MapRange(); entry.Next(); {
			walkFields(fmt.Sprintf("%s[%s]", path, entry.Key()), entry.Value(), visit)
		}
	default:
		visit(path, v)
	}
}
