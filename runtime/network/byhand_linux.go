package network

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// What people do in other firewalls themselves, because rules of ours are not
// allowed there or nobody knows where they belong. Their rule has no comment of
// ours, so that it is left alone, and is known again by what it does.

// marked is the mark of what may pass, as iptables takes and prints it.
var marked = fmt.Sprintf("%#x/%#x", forwardMark, forwardMark)

// byHand is the command for one table, to the place with this number in a
// chain; 0 = the first.
func (t filterTable) byHand(chain string, number int) string {
	words := []string{t.command, "-I", chain}
	if number > 0 {
		words = append(words, fmt.Sprint(number))
	}
	return strings.Join(append(words, "-m", "mark", "--mark", marked, "-j", "ACCEPT"), " ")
}

// kept says what a person adds to a file that its program reads at each start.
func kept(chain, file string) string {
	return fmt.Sprintf(", and for good by the line \"-A %s -m mark --mark %s -j ACCEPT\" before the COMMIT of %s", chain, marked, file)
}

var (
	acceptsMarked = regexp.MustCompile(`^-A \S+ -m mark --mark ` + marked + `( -m comment --comment .*)? -j ACCEPT$`)
	jumps         = regexp.MustCompile(`^-A \S+ -j (\S+)$`)
)

// letsPass reports whether a rule of people accepts what is marked: in a chain
// itself or in one that every packet of it goes through.
func (f *firewall) letsPass(chains map[string][]string, name string) bool {
	for _, r := range chains[name] {
		if acceptsMarked.MatchString(r) && !f.isOurs(r) {
			return true
		}
		if always.MatchString(r) {
			return false
		}
		// A built-in chain is no target: this goes down one step.
		if to := jumps.FindStringSubmatch(r); to != nil && slices.ContainsFunc(reached(chains[to[1]]), func(r string) bool {
			return acceptsMarked.MatchString(r) && !f.isOurs(r)
		}) {
			return true
		}
	}
	return false
}

// reached are the rules of a chain that a packet may get to.
func reached(rules []string) []string {
	if end := slices.IndexFunc(rules, always.MatchString); end >= 0 {
		return rules[:end]
	}
	return rules
}

// nftAcceptsMarked reports whether a rule accepts what is marked.
func nftAcceptsMarked(r *nftables.Rule) bool {
	mark := binaryutil.NativeEndian.PutUint32(forwardMark)
	parts := slices.DeleteFunc(slices.Clone(r.Exprs), func(e expr.Any) bool { _, ok := e.(*expr.Counter); return ok })
	if len(parts) != 4 {
		return false
	}
	meta, isMeta := parts[0].(*expr.Meta)
	mask, isMask := parts[1].(*expr.Bitwise)
	value, isValue := parts[2].(*expr.Cmp)
	verdict, isVerdict := parts[3].(*expr.Verdict)
	return isMeta && meta.Key == expr.MetaKeyMARK && !meta.SourceRegister &&
		isMask && bytes.Equal(mask.Mask, mark) && bytes.Equal(mask.Xor, make([]byte, len(mark))) &&
		isValue && value.Op == expr.CmpOpEq && bytes.Equal(value.Data, mark) &&
		isVerdict && verdict.Kind == expr.VerdictAccept
}
