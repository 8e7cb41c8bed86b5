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

// serveWebhooks listens for Git hosts, if it is configured, until ctx ends.
func (n *node) serveWebhooks(ctx context.Context, helpers *sync.WaitGroup, metrics *agent.Metrics) error {
	c := n.config.Webhook
	if c.Listen == "" {
		return nil
	}
	s, err := webhook.Listen(webhook.Config{
		Address: c.Listen, Path: c.Path, SecretFile: c.SecretFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
		Hint: n.hintNow, Log: n.log,
	})
	if err != nil {
		return err
	}
	metrics.Register(s.Collector())
	helpers.Go(func() {
		if err := s.Run(ctx); err != nil {
			n.log.Error("webhooks are not answered, the repository is polled only", "err", err)
		}
	})
	return nil
}
