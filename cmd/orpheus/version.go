package main

import (
	"fmt"
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version string

// buildInfo says what this program was made from.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the work tree was not the commit
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	// What it can talk to: formats of the fleet's records from and to, and the
	// protocol of driver plugins, 0 where there are none.
	Records [2]int `json:"records"`
	Plugins int    `json:"plugins,omitempty"`
}

// pluginProtocol is set where drivers can be plugins.
var pluginProtocol int

func readBuildInfo() buildInfo {
	b := buildInfo{
		Version: version, Go: goruntime.Version(), OS: goruntime.GOOS, Arch: goruntime.GOARCH,
		Records: [2]int{planner.MinFormat, planner.MaxFormat}, Plugins: pluginProtocol,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// programVersion is what the agent reports of itself.
func programVersion() string { return readBuildInfo().Version }

func (b buildInfo) String() string {
	s := "orpheus " + b.Version
	if b.Commit != "" {
		s += " (commit " + b.Commit[:min(12, len(b.Commit))]
		if b.Modified {
			s += ", modified"
		}
		s += ")"
	}
	s += fmt.Sprintf(" %s %s/%s, records %d", b.Go, b.OS, b.Arch, b.Records[0])
	if b.Records[1] > b.Records[0] {
		s += fmt.Sprintf(" to %d", b.Records[1])
	}
	if b.Plugins > 0 {
		s += fmt.Sprintf(", plugin protocol %d", b.Plugins)
	}
	return s
}

func newVersionCommand(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		RunE: func(*cobra.Command, []string) error {
			if output == "json" {
				return writeJSON(e.stdout, readBuildInfo(), false)
			}
			_, err := fmt.Fprintln(e.stdout, readBuildInfo())
			return err
		},
	}
	addOutputFlag(cmd, &output, "text", "json")
	return cmd
}
