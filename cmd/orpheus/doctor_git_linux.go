package main

import (
	"context"
	"fmt"
)

// gitChecks look at what lies between this node and its repository, as far as
// something does.
func (n *nodeExam) gitChecks() []check {
	var checks []check
	if proxy := n.config.git(nil).Via(); proxy != "" {
		checks = append(checks, check{"proxy", func(context.Context) (level, string, string) { return n.proxyUsed(proxy) }})
	}
	for _, part := range []struct {
		name  string
		app   githubAppConfig
		route gitRoute
	}{
		{"github app", n.config.Repository.GitHubApp, n.config.Repository.route()},
		{"records' app", n.config.Records.GitHubApp, n.config.Records.route(n.config.Repository)},
	} {
		if part.app != (githubAppConfig{}) {
			checks = append(checks, check{part.name, func(ctx context.Context) (level, string, string) { return n.appHealth(ctx, part.app, part.route) }})
		}
	}
	return checks
}

func (n *nodeExam) proxyUsed(proxy string) (level, string, string) {
	if n.config.Repository.Proxy == "" {
		return levelOK, "the repository is reached through " + proxy + ", which the environment here names; the agent's may be another", ""
	}
	return levelOK, "the repository is reached through " + proxy, ""
}

// appHealth mints a token.
func (n *nodeExam) appHealth(ctx context.Context, config githubAppConfig, route gitRoute) (level, string, string) {
	app, err := config.open(route)
	if err == nil {
		_, err = app.Credentials(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return levelWarn, fmt.Sprintf("%s mints no token within %s", app, checkTimeout), "try again; the agent is more patient"
	case err != nil:
		return levelFail, err.Error(), "correct githubApp in " + n.file + ", or the app's installation"
	}
	return levelOK, fmt.Sprintf("%s: gives out tokens; this one is used until %s", app, app.UseUntil().UTC().Format("15:04 UTC")), ""
}
