package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// installation is what install and uninstall work on.
type installation struct {
	*env
	flags   agentFlags
	root    string // staging folder that stands for /; "" = this machine
	prefix  string // the binary is PREFIX/bin/orpheus
	source  string // the binary to install
	noStart bool
	dryRun  bool
	printed bool // --print-unit

	patience time.Duration               // for the agent's first answer
	systemd  func() (unitManager, error) // findSystemd but in tests
}

func newAgentInstallCommand(e *env) *cobra.Command {
	i := &installation{env: e, systemd: findSystemd}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make the agent a unit of systemd, or upgrade it",
		Long: `Have systemd run the agent as a unit of this machine: copy this program to
/usr/local/bin, write the configuration that the flags describe unless there is
one, write the unit, start it, and wait until the agent answers.

Run again, it upgrades in place: it replaces the program and the unit if they
differ, and restarts the agent. What runs on the node keeps running, with its
connections. To go back, run "orpheus agent install" of the version before,
which is kept beside the program as ` + "orpheus" + previous + `.

With --root DIR nothing is started: DIR stands for /, of an image or a package.`,
		Example: `  sudo ./orpheus agent install --repository https://git.example.com/team/fleet.git --token-file /etc/orpheus/token
  sudo ./orpheus agent install --repository git@git.example.com:team/fleet.git --coordination none
  sudo ./orpheus agent install              # a new version
  ./orpheus agent install --print-unit      # for those who do it by hand`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return i.install(cmd.Context()) },
	}
	i.flags.add(cmd)
	i.addPlaceFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&i.source, "binary", "", "program to install (default: this one)")
	f.BoolVar(&i.noStart, "no-start", false, "do not start or restart the agent now")
	f.BoolVar(&i.printed, "print-unit", false, "print the unit and do nothing")
	f.DurationVar(&i.patience, "wait", time.Minute, "how long to wait until the agent answers")
	return cmd
}

// addPlaceFlags adds the flags that say where things are.
func (i *installation) addPlaceFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&i.prefix, "prefix", "/usr/local", "the program is bin/orpheus in it")
	f.StringVar(&i.root, "root", "", "folder that stands for /: files only, nothing is started or stopped")
	f.BoolVar(&i.dryRun, "dry-run", false, "say what would be done, and do nothing")
}

// Paths as the agent will see them; at is where they are now.
func (i *installation) binary() string { return filepath.Join(i.prefix, "bin", "orpheus") }
func (i *installation) unitFile() string {
	return filepath.Join("/etc/systemd/system", unitName)
}
func (i *installation) wanted() string {
	return filepath.Join("/etc/systemd/system/multi-user.target.wants", unitName)
}
func (i *installation) at(path string) string { return filepath.Join(i.root, path) }

// configFile is the agent's configuration, also where --config is not given.
func (i *installation) configFile() string {
	if i.flags.file != "" {
		return i.flags.file
	}
	return defaultConfigFile
}

// absolute makes what flags say independent of the folder it was said in: the
// agent is started in another. Paths in an image have to be absolute as they are.
func (i *installation) absolute() error {
	for _, path := range []*string{&i.root, &i.source} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	if i.root != "" {
		return nil
	}
	return i.flags.absolute()
}

func (i *installation) install(ctx context.Context) error {
	if err := i.absolute(); err != nil {
		return err
	}
	fresh := !exists(i.at(i.configFile()))
	c, err := i.configuration(fresh)
	if err != nil {
		return err
	}
	text, err := unit(i.binary(), i.configFile(), !c.Containerd.Disabled)
	if err != nil {
		return usageError(err)
	}
	if i.printed {
		_, err := fmt.Fprint(i.stdout, text)
		return err
	}
	// Completed for whoever asks, who need not be root yet.
	if err := c.complete(); err != nil {
		if fresh {
			return fmt.Errorf("%s is not there, and these flags do not make one: %w", i.configFile(), err)
		}
		return fmt.Errorf("configuration %s: %w", i.configFile(), err)
	}
	var manager unitManager
	if i.root == "" && !i.dryRun {
		if manager, err = i.mayChange(); err != nil {
			return err
		}
	}
	steps, err := i.installSteps(ctx, c, fresh, text, manager)
	if err != nil {
		return err
	}
	if err := take(ctx, i.stdout, steps, i.dryRun); err != nil {
		return err
	}
	if i.dryRun {
		_, err := fmt.Fprintf(i.stdout, "\n%s:\n\n%s", i.unitFile(), text)
		return err
	}
	if manager == nil || i.noStart {
		return nil
	}
	return i.await(ctx, &c)
}

// configuration is what the agent will start with, before defaults: the file
// that is there, or what the flags describe.
func (i *installation) configuration(fresh bool) (config, error) {
	if !fresh {
		return loadConfig(i.at(i.configFile()))
	}
	var c config
	if err := c.override(i.flags.config, i.flags.labels); err != nil {
		return c, usageError(err)
	}
	return c, nil
}

// mayChange reports whether this user can install a unit here.
func (i *installation) mayChange() (unitManager, error) {
	if !isRoot() {
		return nil, fmt.Errorf("only root can install the agent: run it with sudo; --dry-run shows what it would do")
	}
	manager, err := i.systemd()
	if err != nil {
		return nil, fmt.Errorf("%w. By hand: copy this program to %s, write %s, and have what starts programs here run %q as root, "+
			"start it again whenever it ends, and end nothing but that one process when it is stopped; --print-unit shows how systemd is told",
			err, i.binary(), i.configFile(), i.binary()+" agent")
	}
	return manager, nil
}

func (i *installation) installSteps(ctx context.Context, c config, fresh bool, unitText string, manager unitManager) ([]step, error) {
	source := i.source
	if source == "" {
		source = "/proc/self/exe"
	}
	same, err := sameContent(source, i.at(i.binary()))
	if err != nil {
		return nil, fmt.Errorf("compare the programs: %w", err)
	}
	var steps []step
	configStep, err := i.configStep(fresh)
	if err != nil {
		return nil, err
	}
	if i.root == "" {
		steps = append(steps, i.checkStep(source, fresh, &c))
	}
	if same {
		steps = append(steps, step{text: i.binary() + ": it is this version"})
	} else {
		steps = append(steps, i.binaryStep(ctx, source))
	}
	steps = append(steps, configStep)
	unitStep := i.unitStep(unitText)
	steps = append(steps, unitStep)
	if i.root != "" {
		return append(steps, i.enableStaged()), nil
	}
	return append(steps, i.systemdSteps(ctx, manager, same, unitStep.do == nil)...), nil
}

// checkStep has the program that will run look at what it will run with.
func (i *installation) checkStep(source string, fresh bool, c *config) step {
	if fresh {
		return step{"check the files that the flags name", func(context.Context) error { return errors.Join(c.startFaults()...) }}
	}
	return step{"check " + i.configFile(), func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, source, "agent", "check", "--config", i.configFile()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("the new program cannot start with it, nothing was changed: %s", strings.TrimSpace(string(out)+" ("+err.Error()+")"))
		}
		return nil
	}}
}

// binaryStep replaces the program. Agents, shims and commands that run from
// the old file go on doing so.
func (i *installation) binaryStep(ctx context.Context, source string) step {
	text := fmt.Sprintf("write %s: %s", i.binary(), versionOf(ctx, source))
	old := exists(i.at(i.binary()))
	if old && i.root == "" {
		text += "; it was " + versionOf(ctx, i.binary())
	}
	return step{text, func(context.Context) error {
		in, err := os.Open(source)
		if err != nil {
			return err
		}
		defer in.Close()
		return replaceFile(i.at(i.binary()), in, 0o755, old)
	}}
}

// versionOf asks a program for its version; it may be one for another machine.
func versionOf(ctx context.Context, program string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "version", "--output", "json").Output()
	var b buildInfo
	if err != nil || json.Unmarshal(out, &b) != nil || b.Version == "" {
		return "an unknown version"
	}
	return "version " + b.Version
}

// configStep writes the flags down where there is no configuration yet. One
// that is there is its owner's.
func (i *installation) configStep(fresh bool) (step, error) {
	var given config
	if err := given.override(i.flags.config, i.flags.labels); err != nil {
		return step{}, usageError(err)
	}
	fields, err := givenFields(given)
	if err != nil {
		return step{}, err
	}
	if !fresh {
		text := i.configFile() + ": it is there"
		if len(fields) > 0 {
			text += "; it is yours, and what flags say is not written into it"
		}
		return step{text: text}, nil
	}
	body, err := yaml.Marshal(fields)
	if err != nil {
		return step{}, fmt.Errorf("write the configuration: %w", err)
	}
	head := "# The agent's configuration, written by \"orpheus agent install\" and yours from\n# then on. Every field: https://github.com/orpheus-cd/orpheus/blob/main/docs/agent.md\n"
	return step{"write " + i.configFile(), func(context.Context) error {
		return replaceFile(i.at(i.configFile()), strings.NewReader(head+string(body)), 0o600, false)
	}}, nil
}

// givenFields is a configuration without what it does not say.
func givenFields(c config) (map[string]any, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&fields); err != nil {
		return nil, err
	}
	dropEmpty(fields)
	return fields, nil
}

func dropEmpty(fields map[string]any) {
	for key, value := range fields {
		switch v := value.(type) {
		case map[string]any:
			dropEmpty(v)
			if len(v) == 0 {
				delete(fields, key)
			}
		case nil:
			delete(fields, key)
		case string:
			if v == "" {
				delete(fields, key)
			}
		case bool:
			if !v {
				delete(fields, key)
			}
		case float64:
			if v == 0 {
				delete(fields, key)
			}
		}
	}
}

func (i *installation) unitStep(text string) step {
	if have, err := os.ReadFile(i.at(i.unitFile())); err == nil && string(have) == text {
		return step{text: i.unitFile() + ": it is as it should be"}
	}
	return step{"write " + i.unitFile(), func(context.Context) error {
		return replaceFile(i.at(i.unitFile()), strings.NewReader(text), 0o644, false)
	}}
}

// enableStaged has an image start the agent when it boots.
func (i *installation) enableStaged() step {
	link := i.at(i.wanted())
	if exists(link) {
		return step{text: i.wanted() + ": it is there"}
	}
	return step{"link " + i.wanted(), func(context.Context) error {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		return os.Symlink(i.unitFile(), link)
	}}
}

// systemdSteps has systemd run what was installed. An agent that runs it
// already is left alone.
func (i *installation) systemdSteps(ctx context.Context, m unitManager, sameBinary, sameUnit bool) []step {
	do := func(verb ...string) step {
		return step{"systemctl " + strings.Join(verb, " "), func(ctx context.Context) error { return m.Do(ctx, verb...) }}
	}
	var steps []step
	if !sameUnit {
		steps = append(steps, do("daemon-reload"))
	}
	steps = append(steps, do("enable", unitName))
	if i.noStart {
		return append(steps, step{text: "the agent is not started: systemctl restart " + unitName})
	}
	if m != nil && sameBinary && sameUnit {
		if ok, err := runs(ctx, m, i.binary()); err == nil && ok {
			return append(steps, step{text: "the agent runs this version; after a change of its configuration: systemctl restart " + unitName})
		}
	}
	return append(steps, do("restart", unitName))
}

// await shows what the agent follows, as soon as it answers and knows.
func (i *installation) await(ctx context.Context, c *config) error {
	bounded, cancel := context.WithTimeout(ctx, i.patience)
	defer cancel()
	client, err := api.NewClient(c.socket())
	if err != nil {
		return err
	}
	defer client.Close()
	var st *api.Status
	for bounded.Err() == nil {
		now, err := client.Status(bounded)
		if err == nil {
			st = now
			if r := st.Repository; r.Applied.Hash != "" || r.Refused != "" || r.Error != "" {
				break
			}
		}
		pauseFor(bounded, 100*time.Millisecond)
	}
	if st == nil {
		return fmt.Errorf("the agent does not answer on %s: see \"journalctl -u orpheus -n 50\"; what ran on this node runs on. "+
			"The version before is %s: its \"agent install\" goes back to it", c.socket(), i.binary()+previous)
	}
	s := i.newScreen()
	s.blank()
	drawNode(s, st, true, i.now())
	return s.writeTo(i.stdout)
}

func pauseFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
