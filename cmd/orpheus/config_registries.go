//go:build linux

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/runtime/containerd"
	"github.com/orpheus-cd/orpheus/runtime/containerd/dockerconfig"
)

type registryConfig struct {
	PlainHTTP    bool     `json:"plainHTTP"`
	CAFile       string   `json:"caFile"`
	Username     string   `json:"username"`
	PasswordFile string   `json:"passwordFile"`
	Mirrors      []string `json:"mirrors"` // asked before the registry, in order
}

// described reports whether the registry itself is meant: one of which only
// mirrors are named may be no more than before.
func (r registryConfig) described() bool {
	return r.PlainHTTP || r.CAFile != "" || r.PasswordFile != "" || len(r.Mirrors) == 0
}

// registryFaults lists what is wrong with how images are pulled.
func (c *config) registryFaults() []error {
	var faults []error
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		r := c.Registries[host]
		if r.PasswordFile == "" && r.Username != "" {
			faults = append(faults, fmt.Errorf("registries[%s]: username without passwordFile", host))
		}
		for k, text := range r.Mirrors {
			if _, err := containerd.ParseMirror(text); err != nil {
				faults = append(faults, fmt.Errorf("registries[%s].mirrors[%d]: %w", host, k, err))
			}
		}
	}
	return faults
}

// registries is the part of the configuration that the containerd driver
// needs to pull.
func (c *config) registries() (map[string]containerd.Registry, error) {
	out := map[string]containerd.Registry{}
	for host, r := range c.Registries {
		reg := containerd.Registry{PlainHTTP: r.PlainHTTP, Inside: r.described()}
		if r.CAFile != "" {
			reg.Roots = func() (*x509.CertPool, error) { return registryRoots(host, r.CAFile) }
		}
		for k, text := range r.Mirrors {
			m, err := containerd.ParseMirror(text)
			if err != nil {
				return nil, fmt.Errorf("registries[%s].mirrors[%d]: %w", host, k, err)
			}
			reg.Mirrors = append(reg.Mirrors, m)
		}
		out[host] = reg
	}
	return out, nil
}

// registryRoots reads whom to trust as a registry, at every use.
func registryRoots(host, file string) (*x509.CertPool, error) {
	pem, err := readBounded(file, maxCAFile)
	if err != nil {
		return nil, fmt.Errorf("registries[%s].caFile: %w", host, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("registries[%s].caFile: %s holds no PEM certificate", host, file)
	}
	return roots, nil
}

// registryLogin is what a registry is shown: as this configuration says, else
// as docker's does.
func (c *config) registryLogin(ctx context.Context, host string) (containerd.Login, error) {
	if r := c.Registries[host]; r.PasswordFile != "" {
		from := fmt.Sprintf("registries[%s].passwordFile", host)
		password, err := readSecret(r.PasswordFile)
		if err == nil && password == "" {
			err = fmt.Errorf("%s is empty", r.PasswordFile)
		}
		if err != nil {
			return containerd.Login{}, fmt.Errorf("%s: %w", from, err)
		}
		return containerd.Login{User: r.Username, Secret: password, From: from}, nil
	}
	if c.DockerConfig == "" {
		return containerd.Login{}, nil
	}
	l, err := dockerconfig.Find(ctx, c.DockerConfig, host)
	if doubt := new(dockerconfig.Doubt); errors.As(err, &doubt) {
		return containerd.Login{Doubt: doubt}, nil // it may want none
	}
	return containerd.Login{User: l.User, Secret: l.Secret, From: l.From}, err
}
