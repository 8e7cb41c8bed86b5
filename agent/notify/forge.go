package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync/transport"
	"github.com/orpheus-cd/orpheus/planner"
)

// The kinds of forge. Forgejo speaks as Gitea does.
const (
	GitHub = "github"
	GitLab = "gitlab"
	Gitea  = "gitea"
)

// StatusConfig says where the status of commits is posted.
type StatusConfig struct {
	// Kind, API and Repository are found out where RepositoryURL is at github.com
	// or gitlab.com; Repository is then, and else, its path.
	Kind       string // GitHub, GitLab or Gitea
	API        string // such as https://HOST/api/v3, /api/v4 or /api/v1
	Repository string // OWNER/NAME; of GitLab GROUP/…/NAME
	// RepositoryURL is the repository that is followed.
	RepositoryURL string
	// Token is asked for before every request.
	Token func(context.Context) (string, error)
	// Context is under which name the status stands; "" = "orpheus", with the
	// fleet's name "orpheus/NAME".
	Context string
	// TargetURL is where people find more; "" = nowhere.
	TargetURL string
	Route     transport.Options
}

// forge is where statuses stand.
type forge struct {
	kind       string
	api        *url.URL
	repository string
}

// hosts are the forges that are known by their name.
var hosts = map[string]struct{ kind, api string }{
	"github.com":        {GitHub, "https://api.github.com"},
	"ssh.github.com":    {GitHub, "https://api.github.com"},
	"gitlab.com":        {GitLab, "https://gitlab.com/api/v4"},
	"altssh.gitlab.com": {GitLab, "https://gitlab.com/api/v4"},
}

// newForge completes and checks what c says of the forge; the error lists every
// fault. None holds a URL as it was written.
func newForge(c StatusConfig) (forge, error) {
	host, repository := remote(c.RepositoryURL)
	if known, ok := hosts[host]; ok && (c.Kind == "" || c.Kind == known.kind) {
		c.Kind = known.kind
		if c.API == "" {
			c.API = known.api
		}
	}
	if c.Repository == "" {
		c.Repository = repository
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	f := forge{kind: c.Kind, repository: strings.Trim(c.Repository, "/")}
	switch c.Kind {
	case GitHub, GitLab, Gitea:
	case "":
		fault("kind: the repository's address does not tell it; write github, gitlab or gitea (which is also for Forgejo)")
	default:
		fault("kind: %q is none of github, gitlab and gitea (which is also for Forgejo)", c.Kind)
	}
	if c.API == "" {
		fault("api: is missing: write its address, such as https://HOST/api/v3 (GitHub Enterprise), https://HOST/api/v4 (GitLab) or https://HOST/api/v1 (Gitea)")
	} else if api, err := parseAPI(c.API); err != nil {
		fault("api: %w", err)
	} else {
		f.api = api
	}
	if why := unfitRepository(f.kind, f.repository); why != "" {
		fault("repository: %s", why)
	}
	if c.TargetURL != "" {
		if u, err := url.Parse(c.TargetURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
			fault("targetURL: is no address of a page; write one such as https://grafana.example.com/d/orpheus")
		}
	}
	if len(c.Context) > maxContext || planner.OneLine(c.Context, maxContext) != c.Context {
		fault("context: has more than %d bytes, or characters that cannot be printed", maxContext)
	}
	return f, errors.Join(faults...)
}

// maxContext is what all forges take.
const maxContext = 255

// unfitRepository says what is wrong with the name of a repository.
func unfitRepository(kind, name string) string {
	parts := strings.Split(name, "/")
	switch {
	case name == "":
		return "the repository's address does not tell it; write OWNER/NAME"
	case len(name) > 500 || path.Clean("/"+name) != "/"+name || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`%?#\`, r) }):
		return fmt.Sprintf("%q is no name of a repository; write OWNER/NAME", planner.OneLine(name, 100))
	case len(parts) < 2 || kind != GitLab && len(parts) != 2:
		return fmt.Sprintf("%q is no name of a repository; write OWNER/NAME", planner.OneLine(name, 100))
	}
	return ""
}

// remote is the host and path of a repository's address, in any form that Git
// takes; both "" = it has none.
func remote(address string) (host, name string) {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		host, name = u.Hostname(), u.Path
	} else if before, after, ok := strings.Cut(address, ":"); ok && !strings.Contains(before, "/") {
		_, host, _ = strings.Cut(before, "@")
		name = after
	}
	return strings.ToLower(host), strings.Trim(strings.TrimSuffix(strings.TrimRight(name, "/"), ".git"), "/")
}

// parseAPI reads the address of an API, to which a token is sent.
func parseAPI(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("is no address such as https://HOST/api/v4")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("holds credentials, a query or a fragment; write https://HOST/api/v4")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("over plain http the token can be read on the way; use https")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// at is an address below that of the API. Segments are escaped.
func (f forge) at(segments ...string) *url.URL {
	u := *f.api
	raw := u.EscapedPath()
	for _, s := range segments {
		raw += "/" + url.PathEscape(s)
	}
	u.Path, _ = url.PathUnescape(raw)
	u.RawPath = raw
	return &u
}

// repo is an address below that of the repository.
func (f forge) repo(segments ...string) *url.URL {
	if f.kind == GitLab {
		return f.at(append([]string{"projects", f.repository}, segments...)...)
	}
	owner, name, _ := strings.Cut(f.repository, "/")
	return f.at(append([]string{"repos", owner, name}, segments...)...)
}

// post is the request that sets a status.
func (f forge) post(commit, context, target string, v Verdict) (call, error) {
	fields := map[string]string{"description": v.Text}
	if target != "" {
		fields["target_url"] = target
	}
	fields["state"] = string(v.State)
	if f.kind == GitLab {
		fields["name"] = context
		if v.State == Failure {
			fields["state"] = "failed"
		}
	} else {
		fields["context"] = context
	}
	body, err := json.Marshal(fields)
	return call{method: http.MethodPost, url: f.repo("statuses", commit), body: body}, err
}

// read is the request for the statuses that stand.
func (f forge) read(commit, context string) call {
	var u *url.URL
	query := url.Values{"per_page": {"100"}}
	switch f.kind {
	case GitLab:
		u = f.repo("repository", "commits", commit, "statuses")
		query.Set("name", context)
	case Gitea:
		u = f.repo("commits", commit, "status")
		query = url.Values{"limit": {"50"}}
	default:
		u = f.repo("commits", commit, "status")
	}
	u.RawQuery = query.Encode()
	return call{method: http.MethodGet, url: u}
}

// standing finds the status of a context in the answer to read; the zero value
// = it is not there.
func (f forge) standing(body []byte, context string) (Verdict, error) {
	type status struct {
		State       string `json:"state"`  // GitHub
		Status      string `json:"status"` // the others
		Context     string `json:"context"`
		Name        string `json:"name"` // GitLab
		Description string `json:"description"`
	}
	var all []status
	var err error
	if f.kind == GitLab {
		err = json.Unmarshal(body, &all)
	} else {
		var combined struct {
			Statuses []status `json:"statuses"`
		}
		err = json.Unmarshal(body, &combined)
		all = combined.Statuses
	}
	if err != nil {
		return Verdict{}, errors.New("the answer is not what such a forge sends; check api")
	}
	for _, s := range all {
		if s.Context != context && s.Name != context || context == "" {
			continue
		}
		v := Verdict{State: Failure, Text: s.Description}
		switch cmp.Or(s.Status, s.State) {
		case "success":
			v.State = Success
		case "pending", "running", "created":
			v.State = Pending
		}
		return v, nil
	}
	return Verdict{}, nil
}

// authorize shows the token as the forge wants it.
func (f forge) authorize(h http.Header, token string) {
	switch f.kind {
	case GitHub:
		h.Set("Authorization", "Bearer "+token)
		h.Set("Accept", "application/vnd.github+json")
		h.Set("X-GitHub-Api-Version", "2022-11-28")
	case GitLab:
		h.Set("PRIVATE-TOKEN", token)
	case Gitea:
		h.Set("Authorization", "token "+token)
	}
}

// unchanged reports whether a refusal says that the status has that state
// already: GitLab knows no transition from a state to itself.
func (f forge) unchanged(status int, said string) bool {
	return f.kind == GitLab && status == http.StatusBadRequest && strings.Contains(said, "Cannot transition status")
}

// String names the forge, without secrets.
func (f forge) String() string { return f.kind + " at " + f.api.Host }
