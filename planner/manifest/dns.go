package manifest

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

var dnsSchema = newSchema(
	texts("servers", maxNameServers, nameServer, func(d *planner.DNS) *[]string { return &d.Servers }),
	texts("search", maxSearchDomains, searchDomain, func(d *planner.DNS) *[]string { return &d.Search }),
	texts("options", maxNameOptions, nameOption, func(d *planner.DNS) *[]string { return &d.Options }),
).foreign(
	"nameservers", "write servers: [ADDRESS]",
	"searches", "write search: [DOMAIN]",
	"domain", "write search: [DOMAIN]",
).like("{servers: [192.0.2.53], search: [corp.example.com], options: [timeout:2]}")

// nameServer allows IP addresses that a node can ask for an instance.
var nameServer = rule{checkNameServer, form{pattern: addressShape.Pattern, says: "the IP address of a name server"}}

func checkNameServer(s string) (string, string) {
	const remedy = "write one such as 192.0.2.53"
	switch addr, err := netip.ParseAddr(s); {
	case err != nil || addr.Zone() != "":
		return "is not an IP address", remedy
	case addr.Unmap().IsLoopback():
		return "is another machine for the instance than for the node that asks", "write an address that all nodes reach"
	case addr.IsUnspecified() || addr.IsMulticast():
		return "is not the address of a name server", remedy
	}
	return "", ""
}

// searchDomain allows domains, and the sign for none.
var searchDomain = rule{checkSearchDomain, form{
	pattern: `\.|` + hostName.pattern,
	says:    "a domain such as corp.example.com, or . for none but the fleet's",
}}

func checkSearchDomain(s string) (string, string) {
	if s == planner.NoSearch {
		return "", ""
	}
	if reason, _ := hostName.check(s); reason != "" {
		return reason, "write one like corp.example.com"
	}
	return "", ""
}

// nameOption allows options of resolv.conf.
var nameOption = rule{checkNameOption, form{pattern: nameOptionPattern, says: "an option of resolv.conf such as ndots:2"}}

const nameOptionPattern = `[a-z][a-z0-9-]{0,30}(:[0-9]{1,5})?`

var nameOptionForm = regexp.MustCompile("^(" + nameOptionPattern + ")$")

func checkNameOption(s string) (string, string) {
	if !nameOptionForm.MatchString(s) {
		return "is not an option of resolv.conf", "write one like ndots:2 or use-vc"
	}
	return "", ""
}

// checkDNS looks at how the service looks up names that are not the fleet's.
func (w *writtenService) checkDNS() {
	if !w.d.has("spec.dns") {
		return
	}
	dns := &w.spec.dns
	switch {
	case w.isProcess():
		w.d.fault("spec.dns", "a process asks the name servers of its node", "remove it")
	case w.spec.network == "host":
		w.d.fault("spec.dns", "what is on the node's network has the /etc/resolv.conf of its node", "remove it, or the line network: host")
	}
	for i, s := range dns.Servers {
		if addr, err := netip.ParseAddr(s); err == nil {
			dns.Servers[i] = addr.Unmap().String()
		}
	}
	for i, s := range dns.Search {
		if s == planner.NoSearch && len(dns.Search) > 1 {
			w.d.fault(fmt.Sprintf("spec.dns.search[%d]", i), `"." is for no domains, and there are others`, "remove it, or them")
		}
	}
	given := map[string]bool{}
	for i, o := range dns.Options {
		name, _, _ := strings.Cut(o, ":")
		if name != "" && given[name] {
			w.d.fault(fmt.Sprintf("spec.dns.options[%d]", i), quote(name)+" is set already", "remove one of them")
		}
		given[name] = true
	}
}

// checkSearch bounds what is searched altogether: of a longer list some C
// libraries take a part, and others nothing.
func (w *writtenService) checkSearch(namespace string) {
	const domain, most = "orpheus.internal", 256
	length := len(namespace + "." + domain + " " + domain)
	for _, s := range w.spec.dns.Search {
		length += len(" " + s)
	}
	if length > most && len(w.spec.dns.Search) > 0 {
		w.d.fault("spec.dns.search", fmt.Sprintf("has with the domains of the fleet %d characters, and C libraries take %d", length, most), "remove one")
	}
}
