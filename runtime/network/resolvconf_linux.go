package network

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

const (
	// maxResolvConf bounds what is read of the host's resolv.conf.
	maxResolvConf = 64 << 10
	// What C libraries take: three servers in all of them, six domains of 256
	// characters in older ones, which ignore the rest.
	maxServers     = 3
	maxSearch      = 6
	maxSearchChars = 256
)

// resolver is what a resolv.conf says (man 5 resolv.conf).
type resolver struct {
	servers         []netip.Addr
	search, options []string
}

func readResolver(path string) (resolver, error) {
	f, err := os.Open(path)
	if err != nil {
		return resolver{}, fmt.Errorf("read the host's name servers: %w", err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return resolver{}, fmt.Errorf("read the host's name servers: %w", err)
	}
	return parseResolver(body), nil
}

// parseResolver reads as the C library does: what it does not understand it
// skips, and of search and domain the last one counts.
func parseResolver(body []byte) resolver {
	var r resolver
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil && !addr.IsUnspecified() && len(r.servers) < maxServers {
				r.servers = append(r.servers, addr.Unmap())
			}
		case "search":
			r.search = fields[1:]
		case "domain":
			r.search = fields[1:2]
		case "options":
			r.options = append(r.options, fields[1:]...)
		}
	}
	return r
}

// addSearch adds domains as far as every C library takes them.
func (r *resolver) addSearch(domains []string) {
	for _, d := range domains {
		longer := append(slices.Clone(r.search), d)
		if d == "." || slices.Contains(r.search, d) {
			continue
		}
		if len(longer) > maxSearch || len(strings.Join(longer, " ")) > maxSearchChars {
			return
		}
		r.search = longer
	}
}

// named reports whether one of the options has the name of another. Of two with
// one name some C libraries take the first and some the last.
func named(options []string, other string) bool {
	return slices.ContainsFunc(options, func(o string) bool { return optionName(o) == optionName(other) })
}

func optionName(option string) string {
	name, _, _ := strings.Cut(option, ":")
	return name
}

func (r resolver) String() string {
	var out strings.Builder
	for _, s := range r.servers {
		fmt.Fprintf(&out, "nameserver %s\n", s)
	}
	for _, line := range []struct {
		key    string
		values []string
	}{{"search", r.search}, {"options", r.options}} {
		if len(line.values) > 0 {
			fmt.Fprintf(&out, "%s %s\n", line.key, strings.Join(line.values, " "))
		}
	}
	return out.String()
}
