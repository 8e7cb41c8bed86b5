package notify

import (
	"strings"
	"testing"
)

// TestNewForge: what follows from the repository's address, and what has to be
// written.
func TestNewForge(t *testing.T) {
	for name, row := range map[string]struct {
		config StatusConfig
		want   string // address of a status; or what the fault says
	}{
		"github over https": {StatusConfig{RepositoryURL: "https://github.com/team/fleet.git"}, "https://api.github.com/repos/team/fleet/statuses/abc"},
		"github over ssh":   {StatusConfig{RepositoryURL: "git@github.com:team/fleet.git"}, "https://api.github.com/repos/team/fleet/statuses/abc"},
		"github's other port": {StatusConfig{RepositoryURL: "ssh://git@ssh.github.com:443/team/fleet.git"},
			"https://api.github.com/repos/team/fleet/statuses/abc"},
		"credentials in the address": {StatusConfig{RepositoryURL: "https://ada:s3cret@GitHub.com/team/fleet/"}, "https://api.github.com/repos/team/fleet/statuses/abc"},
		"gitlab, groups in groups":   {StatusConfig{RepositoryURL: "https://gitlab.com/a/b/fleet.git"}, "https://gitlab.com/api/v4/projects/a%2Fb%2Ffleet/statuses/abc"},
		"another repository":         {StatusConfig{RepositoryURL: "https://github.com/team/fleet", Repository: "team/other"}, "https://api.github.com/repos/team/other/statuses/abc"},
		"gitea": {StatusConfig{Kind: Gitea, API: "https://git.example.com/api/v1/", RepositoryURL: "https://git.example.com/team/fleet.git"},
			"https://git.example.com/api/v1/repos/team/fleet/statuses/abc"},
		"github enterprise": {StatusConfig{Kind: GitHub, API: "https://git.example.com/api/v3", RepositoryURL: "git@git.example.com:team/fleet"},
			"https://git.example.com/api/v3/repos/team/fleet/statuses/abc"},
		"on this machine":         {StatusConfig{Kind: Gitea, API: "http://127.0.0.1:3000/api/v1", RepositoryURL: "/srv/git/fleet.git", Repository: "team/fleet"}, "http://127.0.0.1:3000/api/v1/repos/team/fleet/statuses/abc"},
		"no forge by the name":    {StatusConfig{RepositoryURL: "https://git.example.com/team/fleet.git"}, "kind: the repository's address does not tell it"},
		"and no api":              {StatusConfig{Kind: Gitea, RepositoryURL: "https://git.example.com/team/fleet.git"}, "api: is missing"},
		"a kind that is none":     {StatusConfig{Kind: "bitbucket", RepositoryURL: "https://github.com/team/fleet"}, `kind: "bitbucket" is none of`},
		"no path of a repository": {StatusConfig{Kind: Gitea, API: "https://h/api/v1", RepositoryURL: "/srv/git/fleet.git"}, "repository: the repository's address does not tell it"},
		"too deep":                {StatusConfig{Kind: Gitea, API: "https://h/api/v1", RepositoryURL: "https://h/a/b/c"}, "repository: \"a/b/c\" is no name"},
		"a way out of the path":   {StatusConfig{RepositoryURL: "https://github.com/team/fleet", Repository: "team/../../admin"}, "is no name of a repository"},
		"or its query":            {StatusConfig{RepositoryURL: "https://github.com/team/fleet", Repository: "team/fleet?x"}, "is no name of a repository"},
		"plain http":              {StatusConfig{Kind: Gitea, API: "http://git.example.com/api/v1", Repository: "a/b"}, "api: over plain http"},
		"credentials in the api":  {StatusConfig{Kind: Gitea, API: "https://u:s3cret@h/api/v1", Repository: "a/b"}, "api: holds credentials"},
		"no page":                 {StatusConfig{RepositoryURL: "https://github.com/team/fleet", TargetURL: "javascript:alert(1)"}, "targetURL: is no address"},
		"a name that is no line":  {StatusConfig{RepositoryURL: "https://github.com/team/fleet", Context: "a\nb"}, "context: has more"},
	} {
		f, err := newForge(row.config)
		switch {
		case err != nil && (!strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%s: %v, want %q", name, err, row.want)
		case err == nil && f.repo("statuses", "abc").String() != row.want:
			t.Errorf("%s: %s, want %s", name, f.repo("statuses", "abc"), row.want)
		}
	}
	_, err := newForge(StatusConfig{Kind: "x", TargetURL: "y"})
	for _, field := range []string{"kind", "api", "repository", "targetURL"} {
		if err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("the faults lack %s: %v", field, err)
		}
	}
}

// TestRequests: what each forge is sent, and how its answers are read.
func TestRequests(t *testing.T) {
	for _, row := range []struct {
		kind, post, read, answer string
	}{
		{GitHub, `{"context":"orpheus","description":"why","state":"failure","target_url":"https://page"}`,
			"/repos/team/fleet/commits/abc/status?per_page=100",
			`{"state":"success","statuses":[{"state":"success","context":"ci"},{"state":"failure","context":"orpheus","description":"why"}]}`},
		{GitLab, `{"description":"why","name":"orpheus","state":"failed","target_url":"https://page"}`,
			"/projects/team%2Ffleet/repository/commits/abc/statuses?name=orpheus&per_page=100",
			`[{"status":"success","name":"ci"},{"status":"failed","name":"orpheus","description":"why"}]`},
		{Gitea, `{"context":"orpheus","description":"why","state":"failure","target_url":"https://page"}`,
			"/repos/team/fleet/commits/abc/status?limit=50",
			`{"state":"failure","statuses":[{"status":"success","context":"ci"},{"status":"failure","context":"orpheus","description":"why"}]}`},
	} {
		f, err := newForge(StatusConfig{Kind: row.kind, API: "https://host/api", Repository: "team/fleet"})
		if err != nil {
			t.Fatal(err)
		}
		want := Verdict{Failure, "why"}
		r, err := f.post("abc", "orpheus", "https://page", want)
		if err != nil || r.method != "POST" || string(r.body) != row.post {
			t.Errorf("%s is sent %s, want %s", row.kind, r.body, row.post)
		}
		r = f.read("abc", "orpheus")
		if got := strings.TrimPrefix(r.url.String(), "https://host/api"); r.method != "GET" || got != row.read {
			t.Errorf("%s is asked %s, want %s", row.kind, got, row.read)
		}
		if got, err := f.standing([]byte(row.answer), "orpheus"); err != nil || got != want {
			t.Errorf("%s: %+v stands, error %v", row.kind, got, err)
		}
		if got, err := f.standing([]byte(row.answer), "orpheus/other"); err != nil || got != (Verdict{}) {
			t.Errorf("%s: %+v stands for another context, error %v", row.kind, got, err)
		}
		both := strings.ReplaceAll(row.answer, `"description"`, `"state":"failure","status":"failure","description"`)
		if got, err := f.standing([]byte(strings.ReplaceAll(both, "failure", "success")), "orpheus"); err != nil || got != (Verdict{Success, "why"}) {
			t.Errorf("%s, which sends state and status: %+v stands, error %v", row.kind, got, err)
		}
		if _, err := f.standing([]byte("<html>"), "orpheus"); err == nil {
			t.Errorf("%s: a page is taken for an answer", row.kind)
		}
	}
}
