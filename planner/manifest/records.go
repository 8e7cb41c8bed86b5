package manifest

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// defaultPrefix is the one that planner.RecordsPlace writes as "".
const defaultPrefix = "refs/orpheus/"

var recordsSchema = newSchema(
	special("url", patterned(`/\S*|\S+://\S+|[^/\s]+@[^/\s]+:\S+`, "the URL of a repository such as https://git.example.com/team/fleet-records.git"), decodeRecordsURL),
	text("prefix", refPrefix, func(r *planner.RecordsPlace) *string { return &r.Prefix }),
).like("{url: https://git.example.com/team/fleet-records.git}")

// decodeRecordsURL never repeats what was written: it may hold a secret, and
// faults are shown to everyone.
func decodeRecordsURL(d *decoder, v value, into *planner.RecordsPlace) {
	n := v.node
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		d.wrong(v, "must be text", "write a URL like https://git.example.com/team/fleet-records.git")
		return
	}
	reason, remedy := recordsURL(n.Value)
	if reason != "" {
		d.wrong(v, reason, remedy)
		return
	}
	if u, err := url.Parse(n.Value); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		d.warn(v.path, "is not encrypted: who is between a node and this server can hide and hold back records", "use https://")
	}
	into.URL = n.Value
}

// scpForm is git's short form of ssh.
var scpForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*@(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):[^-].*$`)

// recordsURL is the rule of addresses of repositories. What it says never
// holds the address.
func recordsURL(s string) (reason, remedy string) {
	const forms = "write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or the absolute path of a local repository"
	switch {
	case s == "" || len(s) > maxURLBytes:
		return "must have from 1 to 2048 bytes", forms
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }):
		return "has a space or a control character", "percent-encode it"
	case path.IsAbs(s):
		return "", ""
	}
	if !strings.Contains(s, "://") {
		if scpForm.MatchString(s) {
			return "", ""
		}
		return "has no scheme, and is no absolute path", forms
	}
	u, err := url.Parse(s)
	if err != nil {
		return "cannot be read as a URL", forms
	}
	scheme := u.Scheme
	_, password := u.User.Password()
	switch {
	case password || u.User != nil && scheme != "ssh":
		return "holds credentials, and whoever reads the repository reads them: count them as lost",
			"remove what stands before the @, renew them, and give them to the agents: records.tokenFile or records.passwordFile in agent.yaml"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "has a query or a fragment", "remove what follows the path"
	case scheme == "file" && u.Host == "" && path.IsAbs(u.Path):
		return "", ""
	case scheme != "https" && scheme != "http" && scheme != "ssh":
		return "has a scheme that is not supported", forms
	case u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-"):
		return "names no host", forms
	case scheme == "ssh" && u.User.Username() == "":
		return "names no user", forms
	case strings.HasPrefix(u.User.Username(), "-"):
		return "has a user name that begins with a hyphen", forms
	case strings.Trim(u.Path, "/") == "":
		return "names no repository", forms
	}
	return "", ""
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// gitsOwn are the folders of refs that Git or forges give a meaning.
var gitsOwn = map[string]bool{
	"tags": true, "remotes": true, "notes": true, "replace": true, "stash": true, "bisect": true,
	"worktree": true, "rewritten": true, "pull": true, "merge-requests": true, "changes": true, "for": true,
}

// refPrefix allows folders of refs that can be the records' alone.
var refPrefix = rule{checkRefPrefix, form{
	pattern: "refs/([A-Za-z0-9_.-]+/)+",
	says:    "a folder of refs such as refs/orpheus/",
}}

func checkRefPrefix(s string) (reason, remedy string) {
	const like = "write one like refs/orpheus/, or refs/heads/orpheus/ where only branches are allowed"
	inner, ok := strings.CutPrefix(s, "refs/")
	switch {
	case len(s) > maxPrefixBytes:
		return "is longer than 128 bytes", like
	case !ok:
		return "must begin with refs/", like
	case !strings.HasSuffix(s, "/"):
		return "must end with a slash", "write " + quote(s+"/")
	}
	parts := strings.Split(strings.TrimSuffix(inner, "/"), "/")
	for _, part := range parts {
		if !isRefPart(part) {
			return "must be of letters, digits, '-', '_' and '.', as a ref of Git can be", like
		}
	}
	switch {
	case parts[0] == "heads" && len(parts) == 1:
		return "would take all branches for records", "write one like refs/heads/orpheus/"
	case gitsOwn[parts[0]]:
		return "means something else to Git or its servers", like
	}
	return "", ""
}

// isRefPart is stricter than git check-ref-format.
func isRefPart(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("-_.", rune(c))) {
			return false
		}
	}
	return s != "" && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..") && !strings.HasSuffix(s, ".lock")
}
