package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
)

// pluginConfig is a driver that is a program of its own.
type pluginConfig struct {
	Name   string            `json:"name"` // as manifests say it in spec.driver
	Path   string            `json:"path"`
	SHA256 string            `json:"sha256"`
	Args   []string          `json:"args"`
	Env    map[string]string `json:"env"` // all it gets beside a PATH
}

func init() { pluginProtocol = plugin.ProtocolVersion }

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// pluginFaults lists what is wrong with the plugins.
func (c *config) pluginFaults() []error {
	var faults []error
	seen := map[string]bool{planner.DriverContainerd: true, planner.DriverProcess: true}
	for k, p := range c.Plugins {
		fault := func(field, format string, args ...any) {
			faults = append(faults, fmt.Errorf("plugins[%d].%s: %s", k, field, fmt.Sprintf(format, args...)))
		}
		if !nodeName.MatchString(p.Name) {
			fault("name", "%q is not a DNS label (a-z, 0-9 and -, at most 63)", p.Name)
		} else if seen[p.Name] {
			fault("name", "there is a driver %s already", p.Name)
		}
		seen[p.Name] = true
		if !filepath.IsAbs(p.Path) {
			fault("path", "%q must be an absolute path", p.Path)
		}
		if !sha256Hex.MatchString(p.SHA256) {
			fault("sha256", "is not what sha256sum prints for the plugin's file: 64 digits in lower case")
		}
	}
	return faults
}

// hasDriver reports whether there is a driver of this name, built in or not.
func (c *config) hasDriver(name string) bool {
	return name == planner.DriverContainerd || name == planner.DriverProcess ||
		slices.ContainsFunc(c.Plugins, func(p pluginConfig) bool { return p.Name == name })
}

// addPlugins makes the drivers of plugins; the first use starts or finds them.
func (n *node) addPlugins() error {
	for _, p := range n.config.Plugins {
		var env []string
		for _, name := range slices.Sorted(maps.Keys(p.Env)) {
			env = append(env, name+"="+p.Env[name])
		}
		d, err := plugin.New(plugin.Config{
			Name: p.Name, Path: p.Path, SHA256: p.SHA256, Args: p.Args, Env: env,
			StateDir: filepath.Join(n.pluginDir(), p.Name), RunDir: filepath.Join(n.config.RunDir, "plugins", p.Name), Log: n.log,
		})
		if err != nil {
			return err
		}
		n.drivers[p.Name] = d
		n.closers = append(n.closers, d.Close)
	}
	return nil
}

func (n *node) pluginDir() string { return filepath.Join(n.config.StateDir, "plugins") }

// endOldPlugins ends the plugins that the configuration does not name any
// more. What they run goes on: nobody knows how to stop it.
func (n *node) endOldPlugins(ctx context.Context) {
	entries, err := os.ReadDir(n.pluginDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Warn("driver plugins of an earlier configuration may still run", "err", err)
	}
	for _, e := range entries {
		if n.config.hasDriver(e.Name()) {
			continue
		}
		n.log.Info("driver plugin is not configured any more: it ends, what it runs goes on", "driver", e.Name())
		if err := plugin.End(ctx, filepath.Join(n.pluginDir(), e.Name())); err != nil {
			n.log.Warn("driver plugin of an earlier configuration may still run", "driver", e.Name(), "err", err)
		}
	}
}

// pluginHealth looks at the plugin's file only. Starting it beside the one
// that the agent has started might harm what that runs.
func (n *nodeExam) pluginHealth(p pluginConfig) (level, string, string) {
	if err := plugin.CheckBinary(p.Path, p.SHA256); err != nil {
		return levelFail, err.Error(), "install the plugin, or correct plugins in the agent's configuration"
	}
	text := fmt.Sprintf("plugin %s, checksum as configured; \"orpheus status\" says whether it runs", p.Path)
	if !slices.Contains(n.config.Policy.Drivers, p.Name) {
		return levelWarn, text + "; no manifest may use it", "add " + p.Name + " to policy.drivers"
	}
	return levelOK, text, ""
}
