//go:build linux

package main

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/agent/webhook"
)

// webhookConfig is the address that Git hosts call after a push.
type webhookConfig struct {
	Listen     string `json:"listen"` // host:port; "" = none
	Path       string `json:"path"`   // "" = /webhook
	SecretFile string `json:"secretFile"`
	CertFile   string `json:"certFile"` // with KeyFile: https
	KeyFile    string `json:"keyFile"`
}

const defaultWebhookPath = "/webhook"

func (w *webhookConfig) validate(fault func(format string, args ...any)) {
	if w.Listen == "" {
		if *w != (webhookConfig{Path: defaultWebhookPath}) {
			fault("webhook: give listen beside the other fields, such as :7719")
		}
		return
	}
	if _, ok := portOf(w.Listen); !ok {
		fault("webhook.listen: %q is no address; write one such as :7719 or 10.0.0.5:7719", w.Listen)
	}
	if w.SecretFile == "" {
		fault("webhook.secretFile: is missing: without a secret anybody could call")
	}
	if (w.CertFile == "") != (w.KeyFile == "") {
		fault("webhook: give certFile and keyFile, or neither")
	}
	if !strings.HasPrefix(w.Path, "/") || strings.ContainsAny(w.Path, "?# \t\r\n") {
		fault("webhook.path: %q is no path; write one such as %s", w.Path, defaultWebhookPath)
	}
}

// portOf is the port of an address to listen on, as a number.
func portOf(listen string) (int, bool) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return int(n), err == nil
}

// server is what webhook.New needs of it.
func (w *webhookConfig) server() webhook.Config {
	return webhook.Config{Address: w.Listen, Path: w.Path, SecretFile: w.SecretFile, CertFile: w.CertFile, KeyFile: w.KeyFile}
}

// webhooks answers Git hosts, if it is configured, until ctx ends. While it
// cannot, the agent does the rest of its work, and says so in its status.
func (n *node) webhooks(ctx context.Context, a *agent.Agent, helpers *sync.WaitGroup, metrics *agent.Metrics) {
	if n.config.Webhook.Listen == "" {
		return
	}
	c := n.config.Webhook.server()
	c.Hint, c.Log = n.hintNow, n.log
	s := webhook.New(c)
	metrics.Register(s.Collector())
	helpers.Go(func() { s.Run(ctx, func(err error) { a.Problem("webhook", err) }) })
}
