package manifest

import (
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// What nodes use themselves, unless their configuration names others.
const (
	firstHostPort, lastHostPort = 20000, 29999
	peerPort                    = 7718
)

// topLevel are namespaces that name servers elsewhere use as top-level domains,
// and people in every day's names. "go.dev" would be service go of namespace
// dev.
var topLevel = map[string]bool{
	"com": true, "org": true, "net": true, "edu": true, "gov": true, "mil": true, "int": true, "arpa": true, "info": true, "biz": true,
	"io": true, "dev": true, "app": true, "ai": true, "co": true, "me": true, "tv": true, "cloud": true, "xyz": true,
	"de": true, "at": true, "ch": true, "eu": true, "fr": true, "it": true, "nl": true, "uk": true, "us": true, "ca": true, "jp": true, "cn": true, "in": true,
	"local": true, "localhost": true, "localdomain": true, "internal": true, "lan": true, "home": true, "corp": true, "intranet": true,
}

// checkCalled warns of names that are not understood as names of services.
func checkCalled(d *decoder, id planner.ServiceID) {
	checkShortName(d, "metadata.name", id.Name)
	if topLevel[id.Namespace] {
		d.warn("metadata.namespace", fmt.Sprintf("is a top-level domain: on the fleet's nodes %s.%s is this service, and no machine elsewhere", id.Name, id.Namespace), "choose another namespace, such as "+id.Namespace+"-apps")
	}
}

// checkShortName warns of a name that programs do not look up.
func checkShortName(d *decoder, field, name string) {
	switch {
	case name == "localhost":
		d.warn(field, "programs take localhost for their own machine, so that nobody reaches this service by its short name", "choose another name")
	case name != "" && strings.Trim(name, "0123456789") == "":
		d.warn(field, "programs take "+quote(name)+" for an IPv4 address, so that nobody reaches this service by its short name", "choose a name with a letter")
	}
}

// checkPublished warns of a published port that nodes do not open unless they
// are configured for it.
func (w *writtenService) checkPublished(p published) {
	switch {
	case p.Port >= firstHostPort && p.Port <= lastHostPort:
		w.d.warn(p.at, fmt.Sprintf("port %d is one of those (%d-%d) by which nodes reach each other's instances: a node refuses the service unless its network.hostPorts are others", p.Port, firstHostPort, lastHostPort), "publish another port")
	case p.Port == peerPort:
		w.d.warn(p.at, fmt.Sprintf("port %d is where agents listen for each other: a node refuses the service unless its peer.listen is another", p.Port), "publish another port")
	}
	if p.Address == "::1" && !w.onHost() {
		w.d.warn(p.at+".address", "no node opens a port on ::1: the kernel leads nothing away from it", "write 127.0.0.1")
	}
}
