//go:build linux

package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/orpheus-cd/orpheus/runtime/containerd"
)

type registryConfig struct {
	PlainHTTP    bool   `json:"plainHTTP"`
	CAFile       string `json:"caFile"`
	Username     string `json:"username"`
	PasswordFile string `json:"passwordFile"`
}

// registries is the part of the configuration that the containerd driver
// needs to pull.
func (c *config) registries() (map[string]containerd.Registry, error) {
	out := map[string]containerd.Registry{}
	for host, r := range c.Registries {
		reg := containerd.Registry{PlainHTTP: r.PlainHTTP}
		if r.CAFile != "" {
			pem, err := os.ReadFile(r.CAFile)
			if err != nil {
				return nil, fmt.Errorf("registries[%s].caFile: %w", host, err)
			}
			reg.CA = x509.NewCertPool()
			if !reg.CA.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("registries[%s].caFile: %s holds no PEM certificate", host, r.CAFile)
			}
		}
		if r.PasswordFile != "" {
			reg.Credentials = func(context.Context) (string, string, error) {
				password, err := readSecret(r.PasswordFile)
				return r.Username, password, err
			}
		}
		out[host] = reg
	}
	return out, nil
}
