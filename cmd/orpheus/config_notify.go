//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/agent/notify"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

// notifyConfig says who is told how commits fare.
type notifyConfig struct {
	CommitStatus *commitStatusConfig `json:"commitStatus"` // nil = no status of commits
	Webhooks     []notifyHookConfig  `json:"webhooks"`
}

// commitStatusConfig is the forge that shows the status of commits. Empty fields
// follow from the repository's address where it is at github.com or gitlab.com.
type commitStatusConfig struct {
	Kind       string `json:"kind"`       // github, gitlab, gitea
	API        string `json:"api"`        // such as https://HOST/api/v4
	Repository string `json:"repository"` // OWNER/NAME; "" = the path of repository.url
	TokenFile  string `json:"tokenFile"`  // "" = a token of repository.githubApp
	CAFile     string `json:"caFile"`     // "" = that of repository
	Context    string `json:"context"`    // "" = orpheus/ and the fleet's name
	TargetURL  string `json:"targetURL"`
}

// notifyHookConfig is a webhook that is called.
type notifyHookConfig struct {
	URLFile string        `json:"urlFile"`
	URL     string        `json:"url"`    // where it is no secret
	Events  []notify.Kind `json:"events"` // nil = everything
	CAFile  string        `json:"caFile"`
}

// notifyFaults lists what is wrong with the section.
func (c *config) notifyFaults() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s := c.Notify.CommitStatus; s != nil {
		app := c.Repository.GitHubApp != githubAppConfig{}
		switch {
		case s.TokenFile == "" && !app:
			fault("notify.commitStatus.tokenFile: is missing: a token that may set the status of commits is needed")
		case s.TokenFile == "" && (s.API != "" || s.Kind != "" && s.Kind != notify.GitHub):
			fault("notify.commitStatus: give tokenFile beside kind or api: a token of repository.githubApp is only for GitHub, at repository.githubApp.apiURL")
		}
	}
	for k, h := range c.Notify.Webhooks {
		if (h.URL == "") == (h.URLFile == "") {
			fault("notify.webhooks[%d]: give urlFile, or url where the address is no secret", k)
		}
	}
	if len(faults) > 0 {
		return faults
	}
	n := c.notification()
	if n.Status != nil {
		n.Status.Route = transport.Options{} // what is wrong with it is said of repository
	}
	if _, err := notify.New(n); err != nil {
		for text := range strings.SplitSeq(err.Error(), "\n") {
			fault("notify.%s", text)
		}
	}
	return faults
}

// notifySecretFiles hold what lets others be told.
func (c *config) notifySecretFiles() []string {
	var files []string
	if s := c.Notify.CommitStatus; s != nil {
		files = append(files, s.TokenFile)
	}
	for _, h := range c.Notify.Webhooks {
		files = append(files, h.URLFile)
	}
	return files
}

// notification is what notify.New needs.
func (c *config) notification() notify.Config {
	out := notify.Config{File: filepath.Join(c.StateDir, "notify.json")}
	if c.Notify.CommitStatus != nil {
		out.Status = c.commitStatus(*c.Notify.CommitStatus)
	}
	for k, h := range c.Notify.Webhooks {
		hook := notify.HookConfig{Name: fmt.Sprintf("webhooks[%d]", k), On: h.Events, Plain: h.URLFile == "", Route: transport.Options{CAFile: h.CAFile}}
		hook.URL = func() (string, error) {
			if h.URLFile == "" {
				return h.URL, nil
			}
			return readSecret(h.URLFile)
		}
		out.Hooks = append(out.Hooks, hook)
	}
	return out
}

// commitStatus is where statuses go. A token of the repository's app goes where
// it is minted.
func (c *config) commitStatus(s commitStatusConfig) *notify.StatusConfig {
	route := c.Repository.route()
	route.caFile = cmp.Or(s.CAFile, c.Repository.CAFile)
	out := &notify.StatusConfig{
		Kind: s.Kind, API: s.API, Repository: s.Repository, RepositoryURL: c.Repository.URL, Context: s.Context, TargetURL: s.TargetURL, Route: route.options(),
		Token: func(context.Context) (string, error) { return readSecret(s.TokenFile) },
	}
	if s.TokenFile != "" {
		return out
	}
	out.Kind, out.API = notify.GitHub, cmp.Or(c.Repository.GitHubApp.APIURL, "https://api.github.com")
	ask, _ := c.Repository.login().access(c.Repository.route())
	out.Token = func(ctx context.Context) (string, error) {
		shown, err := ask(ctx)
		return shown.Password, err
	}
	return out
}

// newNotifier makes what tells others; nil = nobody is told.
func (c *config) newNotifier(log *slog.Logger) (*notify.Notifier, error) {
	if c.Notify.CommitStatus == nil && len(c.Notify.Webhooks) == 0 {
		return nil, nil
	}
	n := c.notification()
	n.Log = log
	return notify.New(n)
}

// notifications tells others until ctx ends, if anybody is to be told. What of
// it does not work is shown by the agent's status, and keeps it from nothing.
func (n *node) notifications(ctx context.Context, a *agent.Agent, helpers *sync.WaitGroup) {
	if n.notifier != nil {
		helpers.Go(func() { n.notifier.Run(ctx, a.Problem) })
	}
}
