package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
)

// Variables that set the defaults of how nodes are reached.
const (
	envSSH        = "ORPHEUS_SSH"         // the program and its options
	envSSHHost    = "ORPHEUS_SSH_HOST"    // of a node
	envSSHCommand = "ORPHEUS_SSH_COMMAND" // orpheus, on a node
)

// usualSSHTime is how long the agent of a node may take to answer.
const usualSSHTime = 15 * time.Second

// viaOptions are the flags of verbs that reach the agents of nodes from elsewhere.
type viaOptions struct {
	via     string // "" = not asked for
	host    string // pattern of a node's host
	command string // orpheus on a node
	timeout time.Duration

	ssh []string // the program and its options, read from via
}

// viaHelp is what the help of these verbs says of it.
const viaHelp = `
With --via ssh the nodes are found in the fleet's records, and their agents asked
over your own ssh: its configuration, agent and known hosts. The host of a node is
its name, which your ~/.ssh/config may map, or what --ssh-host makes of it. ssh asks
for nothing meanwhile: log in once by hand before. Where the agent is root's and you
are not, --ssh-command "sudo -n orpheus". ORPHEUS_SSH ("ssh -F FILE"),
ORPHEUS_SSH_HOST and ORPHEUS_SSH_COMMAND set what is so for good.`

func (o *viaOptions) addViaFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.via, "via", "", "ask the agents of the fleet's nodes with this `program`: ssh, or \"ssh OPTION...\"")
	f.StringVar(&o.host, "ssh-host", orEnv(envSSHHost, "{name}"), "with --via, what the `host` of a node is called: {name} is the node, {address} the host of its address in the records")
	f.StringVar(&o.command, "ssh-command", orEnv(envSSHCommand, "orpheus"), "with --via, how orpheus is called on nodes, such as \"sudo -n orpheus\"")
	f.DurationVar(&o.timeout, "ssh-timeout", usualSSHTime, "with --via, the `time` that a node may take to answer")
	words := map[string][]string{"via": {"ssh"}, "ssh-host": {"{name}", "{address}", "root@{name}"}, "ssh-command": {"sudo -n orpheus"}}
	for flag, completions := range words {
		// It fails only for a flag that does not exist.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(completions, cobra.ShellCompDirectiveNoFileComp))
	}
}

func orEnv(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// viaAsked reports whether the agents of nodes are to be reached from here.
func (o *viaOptions) viaAsked() bool { return o.via != "" }

// viaGiven reports the same of a verb whose flags are not at hand.
func viaGiven(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("via")
	return f != nil && f.Value.String() != ""
}

// checkVia reads the flags, and refuses those that make no sense.
func (o *viaOptions) checkVia(cmd *cobra.Command) error {
	if !o.viaAsked() {
		for _, flag := range []string{"ssh-host", "ssh-command", "ssh-timeout"} {
			if cmd.Flags().Changed(flag) {
				return fmt.Errorf("--%s says how --via ssh reaches nodes: add --via ssh", flag)
			}
		}
		return nil
	}
	if cmd.Flags().Changed("socket") {
		return errors.New("--socket names the agent of this machine; remove it or --via. On nodes: --ssh-command \"orpheus --socket PATH\"")
	}
	asked, err := splitWords(o.via)
	if err != nil {
		return fmt.Errorf("--via %q: %w", o.via, err)
	}
	if program := strings.TrimSuffix(filepath.Base(asked[0]), ".exe"); program != "ssh" {
		return fmt.Errorf("--via %q: write ssh, or \"ssh OPTION...\"; %s may name another program that takes ssh's options", o.via, envSSH)
	}
	o.ssh = asked
	if own := os.Getenv(envSSH); own != "" && asked[0] == "ssh" {
		program, err := splitWords(own)
		if err != nil {
			return fmt.Errorf("%s: %w", envSSH, err)
		}
		o.ssh = slices.Concat(program, asked[1:])
	}
	switch {
	case strings.HasPrefix(o.host, "-") || strings.ContainsAny(o.host, " \t\r\n"):
		return fmt.Errorf("--ssh-host %q is no name of a host", o.host)
	case !strings.Contains(o.host, "{name}") && !strings.Contains(o.host, "{address}"):
		return fmt.Errorf("--ssh-host %q is the same for all nodes: write {name} or {address} in it, as in admin@{name}.example.com", o.host)
	case strings.TrimSpace(o.command) == "" || strings.ContainsAny(o.command, "\r\n\x00"):
		return errors.New("--ssh-command: write how orpheus is called on nodes")
	case o.timeout <= 0:
		return errors.New("--ssh-timeout: write a time above zero")
	}
	return nil
}

// splitWords takes a command line apart at its blanks, but for those in quotes. No
// shell reads it.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	within, quote := false, rune(0)
	for _, r := range text {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, within = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if within {
				words, within = append(words, word.String()), false
				word.Reset()
			}
		default:
			word.WriteRune(r)
			within = true
		}
	}
	switch {
	case quote != 0:
		return nil, fmt.Errorf("a quote %c is not closed", quote)
	case within:
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("it names no program")
	}
	return words, nil
}

// hostName is what a name from the records must look like before any program sees
// it: nothing that could be an option, a user, a path or a shell's text.
var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$`)

// hostOf is where the pattern says a node is; address is that of its record, host
// and port.
func (o *viaOptions) hostOf(node planner.NodeName, address string) (string, error) {
	if !hostName.MatchString(string(node)) {
		return "", fmt.Errorf("%q is no name of a host", string(node))
	}
	host := strings.ReplaceAll(o.host, "{name}", string(node))
	if !strings.Contains(o.host, "{address}") {
		return host, nil
	}
	at, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", errors.New("its record has no address: use {name} in --ssh-host")
	}
	if ip, err := netip.ParseAddr(at); (err != nil || ip.Zone() != "") && !hostName.MatchString(at) {
		return "", fmt.Errorf("the address in its record, %q, is no name of a host", at)
	}
	return strings.ReplaceAll(host, "{address}", at), nil
}
