package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/runtime/containerd/dockerconfig"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
)

// eachFile visits the files that the configuration names and the agent reads. A
// field is a file's path if its name ends in File, and one other.
func (c *config) eachFile(visit func(field, path string)) {
	walkFields("", reflect.ValueOf(c).Elem(), func(field string, v reflect.Value) {
		isFile := strings.HasSuffix(field, "File") || field == "dockerConfig"
		if isFile && v.Kind() == reflect.String && v.String() != "" {
			visit(field, v.String())
		}
	})
}

// startFaults lists what an agent that is started now could not use: files that
// cannot be read, or do not hold what they should.
func (c *config) startFaults() []error {
	var faults faultList
	c.eachFile(func(field, path string) { faults.add(field, readable(path)) })
	for k, p := range c.Plugins {
		faults.add(fmt.Sprintf("plugins[%d].path", k), plugin.CheckBinary(p.Path, p.SHA256))
	}
	silent := slog.New(slog.DiscardHandler)
	faults.add("repository", c.git(silent).Check())
	if c.Coordination != coordinationNone {
		faults.add("records", c.board(nil, silent).Check())
	}
	registries, err := c.registries()
	faults.add("registries", err)
	for _, host := range slices.Sorted(maps.Keys(registries)) {
		if roots := registries[host].Roots; roots != nil {
			_, err := roots()
			faults.add("", err)
		}
	}
	if c.DockerConfig != "" {
		faults.add("dockerConfig", dockerconfig.Check(c.DockerConfig))
	}
	if c.Webhook.Listen != "" {
		faults.add("webhook", c.Webhook.server().Check())
	}
	return faults.all
}

// faultList tells each fault once: a file that cannot be read is a fault of all
// who would read it.
type faultList struct {
	all  []error
	seen []string
}

// add notes what is wrong with a field, a line for each fault; nil = nothing is.
func (l *faultList) add(field string, err error) {
	if err == nil {
		return
	}
	for text := range strings.SplitSeq(err.Error(), "\n") {
		if slices.ContainsFunc(l.seen, func(known string) bool { return strings.Contains(text, known) }) {
			continue
		}
		l.seen = append(l.seen, text)
		if field != "" {
			text = field + ": " + text
		}
		l.all = append(l.all, errors.New(text))
	}
}
