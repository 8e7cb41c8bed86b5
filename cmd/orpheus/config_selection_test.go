//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
)

// TestConfigSelection: what is followed, by file and flags, and what of it
// cannot be meant.
func TestConfigSelection(t *testing.T) {
	id := strings.Repeat("a", 40)
	for _, row := range []struct {
		name        string
		file, flags repositoryConfig
		want        gitsync.Selection
		fault       string // "" = none
	}{
		{"nothing said", repositoryConfig{}, repositoryConfig{}, gitsync.Selection{Branch: "main"}, ""},
		{"a branch", repositoryConfig{Branch: "prod"}, repositoryConfig{}, gitsync.Selection{Branch: "prod"}, ""},
		{"a tag", repositoryConfig{Tag: "v1"}, repositoryConfig{}, gitsync.Selection{Tag: "v1"}, ""},
		{"a range", repositoryConfig{Semver: ">=1.2 <2"}, repositoryConfig{}, gitsync.Selection{Semver: ">=1.2 <2"}, ""},
		{"a commit is looked for in main", repositoryConfig{Commit: strings.ToUpper(id)}, repositoryConfig{}, gitsync.Selection{Commit: id, Branch: "main"}, ""},
		{"a flag goes before the file", repositoryConfig{Branch: "prod"}, repositoryConfig{Semver: "^1"}, gitsync.Selection{Semver: "^1"}, ""},
		{"a branch's, too", repositoryConfig{Tag: "v1"}, repositoryConfig{Branch: "prod"}, gitsync.Selection{Branch: "prod"}, ""},
		{"a commit in the file's branch", repositoryConfig{Branch: "prod"}, repositoryConfig{Commit: id}, gitsync.Selection{Commit: id, Branch: "prod"}, ""},
		{"two at once", repositoryConfig{Tag: "v1", Commit: id}, repositoryConfig{}, gitsync.Selection{}, "tag and commit are given together"},
		{"a branch and a range", repositoryConfig{Branch: "main", Semver: "^1"}, repositoryConfig{}, gitsync.Selection{}, "branch and semver are given together"},
		{"no range", repositoryConfig{Semver: "newest"}, repositoryConfig{}, gitsync.Selection{}, `repository: semver "newest" is no range of versions`},
		{"half an id", repositoryConfig{Commit: "aaaaaaa"}, repositoryConfig{}, gitsync.Selection{}, "not a full object id"},
		{"half a floor", repositoryConfig{Floor: "aaaaaaa"}, repositoryConfig{}, gitsync.Selection{}, "repository.floor: give the full id"},
		{"a floor", repositoryConfig{Floor: id}, repositoryConfig{}, gitsync.Selection{Branch: "main"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := config{Node: nodeConfig{Name: "node-1"}, Repository: row.file}
			c.Repository.URL = "https://git.example.com/fleet.git"
			if err := c.override(config{Repository: row.flags}, nil); err != nil {
				t.Fatal(err)
			}
			err := c.complete()
			if row.fault != "" {
				if err == nil || !strings.Contains(err.Error(), row.fault) {
					t.Errorf("error %v, want %q", err, row.fault)
				}
				return
			}
			if got := c.Repository.selection(); err != nil || got != row.want {
				t.Errorf("%+v, error %v; want %+v", got, err, row.want)
			}
		})
	}
}
