package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// userName allows the name of an account, and one of a group behind a colon as
// in an image's USER.
var userName = rule{checkUserName, form{
	pattern: accountPattern + "(:" + accountPattern + ")?",
	says:    "the name of a user, or USER:GROUP",
}}

const accountPattern = "[A-Za-z_][A-Za-z0-9_.-]*"

func checkUserName(s string) (string, string) {
	user, group, has := strings.Cut(s, ":")
	switch {
	case s == "":
		return "must not be empty", "write a value, or remove it"
	case strings.Trim(s, "0123456789") == "":
		return "is a number, not a name", "write runAsUser: " + s
	case !accountName(user) || has && !accountName(group):
		return "is not the name of a user", "write one like node, or node:staff; write numbers as runAsUser and runAsGroup"
	}
	return "", ""
}

func accountName(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || (r < '0' || r > '9') && r != '-' && r != '.') {
			return false
		}
	}
	return s != "" && len(s) <= maxAccountBytes
}

// decodeGroups reads numbers of groups. Their order means nothing.
func decodeGroups(d *decoder, v value, into *planner.Security) {
	for _, item := range d.items(v, maxGroups, "write it as a list: [1000, 2000]") {
		if n, ok := d.number(item, 0, maxUser); ok {
			into.SupplementalGroups = append(into.SupplementalGroups, n)
		}
	}
	slices.Sort(into.SupplementalGroups)
	into.SupplementalGroups = slices.Compact(into.SupplementalGroups)
}

// checkUser finds out whether it is said twice who a container runs as.
func (w *writtenService) checkUser(c placed) {
	s, at := c.Security, c.at+".securityContext"
	if s.RunAsUserName == "" {
		return
	}
	if s.RunAsUser != nil {
		w.d.fault(at+".runAsUserName", "is given beside runAsUser", "remove one of them")
	}
	if user, group, has := strings.Cut(s.RunAsUserName, ":"); has && s.RunAsGroup != nil {
		w.d.fault(at+".runAsUserName", fmt.Sprintf("names group %s beside runAsGroup", quote(group)), "write runAsUserName: "+user+", or remove runAsGroup")
	}
}
