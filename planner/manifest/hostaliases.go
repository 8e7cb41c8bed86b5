package manifest

import (
	"fmt"
	"net/netip"

	"github.com/orpheus-cd/orpheus/planner"
)

var hostAliasSchema = newSchema(
	text("ip", aliasAddress, func(h *planner.HostAlias) *string { return &h.IP }).must(),
	texts("hostnames", maxHostAliases, hostName, func(h *planner.HostAlias) *[]string { return &h.Hostnames }).must().nonEmpty(),
).like("{ip: 10.0.0.1, hostnames: [db.example.com]}")

// aliasAddress allows IP addresses without zone, and the word for the node.
var aliasAddress = rule{checkAliasAddress, form{
	pattern: planner.NodeHost + "|" + addressShape.Pattern,
	says:    "an IP address, or node for the address at which an instance reaches its node",
}}

func checkAliasAddress(s string) (string, string) {
	if s == planner.NodeHost {
		return "", ""
	}
	const remedy = "write one such as 10.0.0.1, or node for the address at which an instance reaches its node"
	switch addr, err := netip.ParseAddr(s); {
	case s == "host-gateway":
		return "is not an IP address", "write node: the address at which an instance reaches its node"
	case err != nil:
		return "is not an IP address", remedy
	case addr.Zone() != "":
		return "has a zone, which /etc/hosts does not know", remedy
	}
	return "", ""
}

// hostName allows what programs look up: DNS names, also with underscores.
var hostName = rule{checkHostName, form{
	pattern: `[A-Za-z0-9](([A-Za-z0-9_-]|\.[A-Za-z0-9_-])*\.?[A-Za-z0-9])?`,
	says:    "a host name such as db.example.com",
}}

func checkHostName(s string) (string, string) {
	switch {
	case s == "":
		return "must not be empty", "write a value, or remove it"
	case len(s) > 253:
		return "is longer than 253 characters", "shorten it"
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || c != '-' && c != '.' && c != '_' || c == '.' && s[i-1] == '.') {
			return "is not a host name", "write one like db or db.example.com"
		}
	}
	return "", ""
}

// checkHostAliases looks at the lines of /etc/hosts, and brings addresses into
// their normal form.
func (w *writtenService) checkHostAliases() {
	if !w.d.has("spec.hostAliases") {
		return
	}
	switch {
	case w.isProcess():
		w.d.fault("spec.hostAliases", "a process sees the /etc/hosts of its node", "remove it")
	case w.spec.network == "host":
		w.d.fault("spec.hostAliases", "what is on the node's network has no /etc/hosts of ours", "remove it, or the line network: host")
	}
	first := map[string]int{}
	for i := range w.spec.hostAliases {
		h := &w.spec.hostAliases[i]
		at := fmt.Sprintf("spec.hostAliases[%d]", i)
		if addr, err := netip.ParseAddr(h.IP); err == nil {
			h.IP = addr.Unmap().String()
		}
		if h.IP == "" {
			continue // said already
		}
		if other, ok := first[h.IP]; ok {
			w.d.fault(at+".ip", fmt.Sprintf("%s exists already, as spec.hostAliases[%d]", quote(h.IP), other), "list all its names there")
		} else {
			first[h.IP] = i
		}
		if w.d.has(at+".hostnames") && len(h.Hostnames) == 0 {
			w.d.fault(at+".hostnames", "must have at least one name", "add one, or remove the item")
		}
	}
}
