package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-iptables/iptables"
	"github.com/google/nftables"
)

// lockPatience is how many seconds to wait for iptables' own lock.
const lockPatience = 5

// foreignChain is a chain that a program makes for rules of others, below the
// chain that drops.
type foreignChain struct {
	program, guard, name string
	// keeps is what a person adds to which file, so that a rule of theirs is there
	// again when the program writes its chains anew; "" = it leaves the chain alone.
	keeps string
}

// The documented ones. Docker: "Packet filtering and firewalls", DOCKER-USER.
// ufw: its before.rules, "Custom rules should be added to one of these chains";
// the rules that people give it with "ufw allow" and "ufw route" stand in these
// chains already, before ours, and changing them leaves ours alone.
var foreignChains = map[iptables.Protocol][]foreignChain{
	iptables.ProtocolIPv4: {
		{"Docker", "FORWARD", "DOCKER-USER", ""},
		{"ufw", "FORWARD", "ufw-before-forward", kept("ufw-after-forward", "/etc/ufw/after.rules")},
		{"ufw", "INPUT", "ufw-before-input", kept("ufw-after-input", "/etc/ufw/after.rules")},
	},
	iptables.ProtocolIPv6: {
		{"Docker", "FORWARD", "DOCKER-USER", ""},
		{"ufw", "FORWARD", "ufw6-before-forward", kept("ufw6-after-forward", "/etc/ufw/after6.rules")},
		{"ufw", "INPUT", "ufw6-before-input", kept("ufw6-after-input", "/etc/ufw/after6.rules")},
	},
}

// filterTable is a table "filter" of iptables: of the new one, which keeps it
// in nftables, or of the old one.
type filterTable struct {
	proto   iptables.Protocol
	legacy  bool
	command string // for people
	// program is what reads and writes it; nil = it is not installed.
	program *iptables.IPTables
	path    string
	// chains are the rules by chain, as "iptables -S" prints them: first the
	// policy or the chain itself.
	chains map[string][]string
}

// xtables returns the openings in tables of iptables, and these tables.
func (f *firewall) xtables(chains []*nftables.Chain) ([]opening, []filterTable, error) {
	var all []opening
	var tables []filterTable
	var faults []error
	for _, t := range f.filterTables(chains) {
		if err := t.read(); err != nil {
			faults = append(faults, err)
			continue
		}
		all = append(all, f.openingsIn(t)...)
		tables = append(tables, t)
	}
	return all, tables, errors.Join(faults...)
}

// filterTables finds the tables without making any: to ask iptables for a table
// that is not there makes it.
func (f *firewall) filterTables(chains []*nftables.Chain) []filterTable {
	legacy := legacyTables()
	var all []filterTable
	for _, proto := range []iptables.Protocol{iptables.ProtocolIPv4, iptables.ProtocolIPv6} {
		family := nftables.TableFamilyIPv4
		if proto == iptables.ProtocolIPv6 {
			family = nftables.TableFamilyIPv6
		}
		if !f.sees(family) {
			continue
		}
		if slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return c.Table.Family == family && xtable(c) }) {
			all = append(all, f.filterTable(proto, false))
		}
		if slices.Contains(legacy, proto) {
			all = append(all, f.filterTable(proto, true))
		}
	}
	return all
}

// xtable reports whether a base chain is one of iptables.
func xtable(c *nftables.Chain) bool {
	return c.Table.Name == "filter" && (c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyIPv6) &&
		c.Hooknum != nil && (c.Name == "FORWARD" || c.Name == "INPUT")
}

// legacyTables says where the old iptables has a table "filter".
func legacyTables() []iptables.Protocol {
	var all []iptables.Protocol
	for proto, path := range map[iptables.Protocol]string{
		iptables.ProtocolIPv4: "/proc/net/ip_tables_names", iptables.ProtocolIPv6: "/proc/net/ip6_tables_names",
	} {
		if names, err := os.ReadFile(path); err == nil && slices.Contains(strings.Fields(string(names)), "filter") {
			all = append(all, proto)
		}
	}
	return all
}

// filterTable finds the program for a table, and remembers it.
func (f *firewall) filterTable(proto iptables.Protocol, legacy bool) filterTable {
	for _, known := range f.programs {
		if known.proto == proto && known.legacy == legacy {
			return known
		}
	}
	t := filterTable{proto: proto, legacy: legacy, command: "iptables"}
	if proto == iptables.ProtocolIPv6 {
		t.command = "ip6tables"
	}
	variant := "-nft"
	if legacy {
		variant = "-legacy"
	}
	for _, name := range []string{t.command + variant, t.command} {
		path, err := findProgram(name)
		if err != nil || name == t.command && !ofVariant(path, legacy) {
			continue
		}
		if t.program, err = iptables.New(iptables.IPFamily(proto), iptables.Path(path), iptables.Timeout(lockPatience)); err == nil {
			t.command, t.path = name, path
			f.programs = append(f.programs, t)
			return t
		}
	}
	t.command += variant
	return t
}

// read asks for all rules of the table at once. go-iptables asks for one chain
// at a time, which takes longer, and this is asked often.
func (t *filterTable) read() error {
	t.chains = map[string][]string{}
	if t.program == nil {
		return nil
	}
	out, err := exec.Command(t.path, "--wait", strconv.Itoa(lockPatience), "-S").Output()
	if err != nil {
		return fmt.Errorf("read firewall rules with %s: %w", t.command, err)
	}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 1 { // verb and chain
			t.chains[fields[1]] = append(t.chains[fields[1]], strings.TrimSpace(line))
		}
	}
	return nil
}

// ofVariant asks an iptables which one it is.
func ofVariant(path string, legacy bool) bool {
	version, err := exec.Command(path, "--version").Output()
	return err == nil && strings.Contains(string(version), "nf_tables") != legacy
}

// findProgram looks in PATH and where administrators' programs are.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// openingsIn returns the openings of one table. One that drops and has none is
// for people.
func (f *firewall) openingsIn(t filterTable) []opening {
	if t.program == nil {
		return []opening{{
			where: t.command + ", chain FORWARD", needed: true,
			byHand: fmt.Sprintf("it cannot be read without that program, so install it; or, if it drops, run \"%s\" where it is", t.byHand("FORWARD", 0)),
		}}
	}
	var all []opening
	for _, guard := range []string{"FORWARD", "INPUT"} {
		if guard == "INPUT" && f.cfg.NoNames {
			continue // nothing of instances is meant for the host itself
		}
		drops := dropsByDefault(t.chains[guard]) && !f.letsPass(t.chains, guard)
		known := t.chains[firewalldChain] != nil
		for _, c := range foreignChains[t.proto] {
			if c.guard == guard && t.chains[c.name] != nil {
				known = true
				all = append(all, f.openingOf(t, c, drops))
			}
		}
		if drops && !known {
			all = append(all, opening{
				where: fmt.Sprintf("%s, chain %s", t.command, guard), needed: true,
				byHand: fmt.Sprintf("let it accept what is marked, such as by \"%s\"", t.byHand(guard, 0)),
			})
		}
	}
	return all
}

// openingOf looks for our rule in one chain.
func (f *firewall) openingOf(t filterTable, c foreignChain, needed bool) opening {
	rules := t.chains[c.name]
	return opening{
		where:  fmt.Sprintf("%s, chain %s of %s", t.command, c.name, c.program),
		rule:   fmt.Sprintf("accept what has mark %#x (%s)", forwardMark, f.comment()),
		byHand: fmt.Sprintf("let it accept what is marked, such as by \"%s\"%s", t.byHand(c.name, place(rules)), c.keeps),
		needed: needed,
		stands: slices.ContainsFunc(rules, f.isOurs),
		open:   func() error { return t.program.Insert("filter", c.name, place(rules), f.rule()...) },
		close: func() error {
			for _, r := range rules { // as often as it is there
				if !f.isOurs(r) {
					continue
				}
				if err := t.program.DeleteIfExists("filter", c.name, f.rule()...); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (f *firewall) isOurs(rule string) bool { return strings.Contains(rule, f.quoted()) }

// place is the number our rule gets among these: the last one's that a packet
// reaches whatever it is.
func place(rules []string) int {
	number := 1
	for _, r := range rules {
		if !strings.HasPrefix(r, "-A ") {
			continue // the chain itself
		}
		if always.MatchString(r) {
			break
		}
		number++
	}
	return number
}

var (
	always     = regexp.MustCompile(`^-A \S+ -j (RETURN|DROP|REJECT|ACCEPT)( --reject-with \S+)?$`)
	dropPolicy = regexp.MustCompile(`^-P \S+ DROP`)
	dropRule   = regexp.MustCompile(`^-A \S+ -j (DROP|REJECT)( --reject-with \S+)?$`)
)

// dropsByDefault reports whether a built-in chain drops what no rule of it
// accepts.
func dropsByDefault(rules []string) bool {
	return slices.ContainsFunc(rules, func(r string) bool { return dropPolicy.MatchString(r) || dropRule.MatchString(r) })
}

// rule is what we put into chains of iptables.
func (f *firewall) rule() []string {
	return []string{"-m", "mark", "--mark", marked, "-m", "comment", "--comment", f.comment(), "-j", "ACCEPT"}
}
