//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd"
)

// config is the agent's configuration: a YAML file, then flags over it. It is
// the node's own; nothing in the repository can change it. docs/agent.md
// documents every field.
type config struct {
	Node         nodeConfig                `json:"node"`
	Repository   repositoryConfig          `json:"repository"`
	Coordination string                    `json:"coordination"` // "" = leases, "none" = this node alone
	Records      recordsConfig             `json:"records"`
	Peer         peerConfig                `json:"peer"`
	StateDir     string                    `json:"stateDir"`
	RunDir       string                    `json:"runDir"`
	Containerd   containerdConfig          `json:"containerd"`
	Process      processConfig             `json:"process"`
	Plugins      []pluginConfig            `json:"plugins"`
	Network      networkConfig             `json:"network"`
	Registries   map[string]registryConfig `json:"registries"`
	Policy       policyConfig              `json:"policy"`
	API          apiConfig                 `json:"api"`
	Logs         logsConfig                `json:"logs"`
	Log          logConfig                 `json:"log"`
}

type nodeConfig struct {
	Name     string            `json:"name"` // "" = the host's name
	Labels   map[string]string `json:"labels"`
	Taints   []planner.Taint   `json:"taints"`
	Capacity capacityConfig    `json:"capacity"`
}

// capacityConfig is what instances may ask for in sum; "" = what the machine has.
type capacityConfig struct {
	CPU    string `json:"cpu"`    // quantity, such as 4 or 3500m
	Memory string `json:"memory"` // quantity, such as 15Gi
}

// recordsConfig says where the fleet's records are and how to write them.
// Empty fields are what fleet.yaml says, else what repository says.
type recordsConfig struct {
	URL            string `json:"url"`
	Prefix         string `json:"prefix"`
	Username       string `json:"username"`
	PasswordFile   string `json:"passwordFile"`
	TokenFile      string `json:"tokenFile"`
	CAFile         string `json:"caFile"`
	SSHKeyFile     string `json:"sshKeyFile"`
	KnownHostsFile string `json:"knownHostsFile"`
}

// peerConfig is how other nodes of the fleet watch this one.
type peerConfig struct {
	Listen  string `json:"listen"`  // host:port; "" = :7718, "none" = nobody watches it
	Address string `json:"address"` // host:port others reach it at; "" = found out
}

type repositoryConfig struct {
	URL          string `json:"url"`
	Branch       string `json:"branch"` // "" = main
	Path         string `json:"path"`   // "" = the top of the repository
	Username     string `json:"username"`
	PasswordFile string `json:"passwordFile"`
	TokenFile    string `json:"tokenFile"`
	CAFile       string `json:"caFile"`

	SSHKeyFile     string `json:"sshKeyFile"`
	KnownHostsFile string `json:"knownHostsFile"`
}

type containerdConfig struct {
	Disabled    bool   `json:"disabled"`
	Address     string `json:"address"`
	Namespace   string `json:"namespace"`
	Snapshotter string `json:"snapshotter"`
	Cgroup      string `json:"cgroup"`
}

type processConfig struct {
	Cgroup string `json:"cgroup"`
}

type networkConfig struct {
	Bridge string `json:"bridge"`
	Subnet string `json:"subnet"`
	Table  string `json:"table"`
	MTU    int    `json:"mtu"`
}

type registryConfig struct {
	PlainHTTP    bool   `json:"plainHTTP"`
	CAFile       string `json:"caFile"`
	Username     string `json:"username"`
	PasswordFile string `json:"passwordFile"`
}

type policyConfig struct {
	Drivers      []string `json:"drivers"`
	HostPaths    []string `json:"hostPaths"`
	Devices      []string `json:"devices"`
	Capabilities []string `json:"capabilities"`
	Privileged   bool     `json:"privileged"`
	HostNetwork  bool     `json:"hostNetwork"`
	Registries   []string `json:"registries"`
}

type apiConfig struct {
	Address string `json:"address"` // host:port on loopback; "" = 127.0.0.1:7717, "none" = the unix socket only
}

type logsConfig struct {
	MaxSize string `json:"maxSize"` // quantity, such as 10Mi
	Files   int    `json:"files"`
}

type logConfig struct {
	Level  string `json:"level"`  // debug, info, warn, error
	Format string `json:"format"` // text, json
}

const (
	defaultConfigFile = "/etc/orpheus/agent.yaml"
	defaultAPIAddress = "127.0.0.1:7717"
	defaultPeerListen = ":7718"
	maxConfigBytes    = 1 << 20

	coordinationLeases = "leases"
	coordinationNone   = "none"
)

// loadConfig reads a configuration file; a default file that does not exist
// is an empty one.
func loadConfig(path string) (config, error) {
	var c config
	explicit := path != ""
	if !explicit {
		path = defaultConfigFile
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !explicit:
		return c, nil
	case err != nil:
		return c, fmt.Errorf("read configuration: %w", err)
	case info.Size() > maxConfigBytes:
		return c, fmt.Errorf("read configuration: %s is larger than %d bytes", path, maxConfigBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		// The decoder speaks of the JSON that the YAML was turned into.
		text := err.Error()
		for _, prefix := range []string{"error unmarshaling JSON: ", "while decoding JSON: ", "error converting YAML to JSON: ", "json: "} {
			text = strings.TrimPrefix(text, prefix)
		}
		return c, fmt.Errorf("configuration %s: %s", path, text)
	}
	return c, nil
}

// complete fills in defaults and lists everything that is wrong.
func (c *config) complete() error {
	root := os.Geteuid() == 0
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	if c.Node.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("node.name: %w", err)
		}
		c.Node.Name, _, _ = strings.Cut(strings.ToLower(host), ".")
	}
	set(&c.Repository.Branch, "main")
	set(&c.Repository.Path, ".")
	set(&c.Coordination, coordinationLeases)
	set(&c.Peer.Listen, defaultPeerListen)
	set(&c.StateDir, defaultStateDir())
	set(&c.RunDir, defaultRunDir())
	set(&c.API.Address, defaultAPIAddress)
	set(&c.Logs.MaxSize, "10Mi")
	set(&c.Log.Level, "info")
	set(&c.Log.Format, "text")
	if len(c.Policy.Drivers) == 0 {
		c.Policy.Drivers = []string{planner.DriverContainerd}
		if !root {
			c.Policy.Drivers = []string{planner.DriverProcess}
		}
	}
	if !root && c.Containerd.Address == "" {
		c.Containerd.Disabled = true
	}
	return c.validate()
}

func (c *config) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !nodeName.MatchString(c.Node.Name) {
		fault("node.name: %q is not a DNS label (a-z, 0-9 and -, at most 63)", c.Node.Name)
	}
	if c.Repository.URL == "" {
		fault("repository.url: is missing; give the fleet's repository here or with --repository")
	}
	if filepath.IsAbs(c.Repository.Path) || !fs.ValidPath(filepath.Clean(c.Repository.Path)) {
		fault("repository.path: %q must be a folder inside the repository, such as fleets/prod", c.Repository.Path)
	}
	if c.Repository.TokenFile != "" && c.Repository.PasswordFile != "" {
		fault("repository: give tokenFile or passwordFile, not both")
	}
	if c.Coordination != coordinationNone && c.Coordination != coordinationLeases {
		fault("coordination: %q is neither leases nor none", c.Coordination)
	}
	if c.Records.TokenFile != "" && c.Records.PasswordFile != "" {
		fault("records: give tokenFile or passwordFile, not both")
	}
	if c.Records.URL == "" {
		// Else a commit that names another address in fleet.yaml would get them.
		for _, given := range []struct{ field, value string }{
			{"tokenFile", c.Records.TokenFile}, {"passwordFile", c.Records.PasswordFile}, {"username", c.Records.Username},
		} {
			if given.value != "" {
				fault("records.%s: give records.url beside it: credentials are only sent to the address they are meant for", given.field)
			}
		}
	}
	for name, address := range map[string]string{"peer.listen": c.Peer.Listen, "peer.address": c.Peer.Address} {
		if address == "" || name == "peer.listen" && address == "none" {
			continue
		}
		if host, port, err := net.SplitHostPort(address); err != nil || port == "" || name == "peer.address" && host == "" {
			fault("%s: %q is no address; write one such as 10.0.0.5:7718", name, address)
		}
	}
	for name, value := range map[string]string{"node.capacity.cpu": c.Node.Capacity.CPU, "node.capacity.memory": c.Node.Capacity.Memory} {
		if q, err := resource.ParseQuantity(value); value != "" && (err != nil || q.Sign() <= 0) {
			fault("%s: %q is no amount; write one such as 4 or 15Gi", name, value)
		}
	}
	for k, t := range c.Node.Taints {
		if t.Key == "" || t.Effect != "NoSchedule" && t.Effect != "NoExecute" {
			fault("node.taints[%d]: give a key, and NoSchedule or NoExecute as effect", k)
		}
	}
	for name, dir := range map[string]string{"stateDir": c.StateDir, "runDir": c.RunDir} {
		if !filepath.IsAbs(dir) {
			fault("%s: %q must be an absolute path", name, dir)
		}
	}
	if c.Network.Subnet != "" {
		if _, err := netip.ParsePrefix(c.Network.Subnet); err != nil {
			fault("network.subnet: %q is no subnet; write one such as 10.231.0.0/20", c.Network.Subnet)
		}
	}
	if _, err := resource.ParseQuantity(c.Logs.MaxSize); err != nil {
		fault("logs.maxSize: %q is no size; write one such as 10Mi", c.Logs.MaxSize)
	}
	for _, name := range c.Policy.Drivers {
		if !c.hasDriver(name) {
			fault("policy.drivers: %q is no driver; write containerd, process or the name of a plugin", name)
		}
	}
	faults = append(faults, c.pluginFaults()...)
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		fault("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if address := c.apiAddress(); address != "" {
		if addr, err := netip.ParseAddrPort(strings.Replace(address, "localhost:", "127.0.0.1:", 1)); err != nil || !addr.Addr().IsLoopback() {
			fault("api.address: %q is not on loopback; write %s, another port of 127.0.0.1, or none", address, defaultAPIAddress)
		}
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		fault("log.format: %q is neither text nor json", c.Log.Format)
	}
	for host, r := range c.Registries {
		if r.PasswordFile == "" && r.Username != "" {
			fault("registries[%s]: username without passwordFile", host)
		}
	}
	return errors.Join(faults...)
}

// socket is where the agent's own command line reaches it.
func (c *config) socket() string { return filepath.Join(c.RunDir, "orpheus.sock") }

// apiAddress is where status is served beside the socket; "" = nowhere.
func (c *config) apiAddress() string {
	if c.API.Address == "none" {
		return ""
	}
	return c.API.Address
}

func (c *config) logger(w *os.File) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // validated
	opts := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// git is the part of the configuration that gitsync needs.
func (c *config) git(log *slog.Logger) gitsync.Config {
	r := c.Repository
	out := gitsync.Config{
		URL: r.URL, Branch: r.Branch, CAFile: r.CAFile, Log: log,
		SSHKeyFile: r.SSHKeyFile, KnownHostsFile: r.KnownHostsFile,
		Dir: filepath.Join(c.StateDir, "git"),
	}
	out.Credentials = credentials(r.Username, r.PasswordFile, r.TokenFile)
	return out
}

// credentials reads what a Git server is shown anew at every use; nil = none
// are configured.
func credentials(username, passwordFile, tokenFile string) func(context.Context) (gitsync.Credentials, error) {
	if tokenFile == "" && passwordFile == "" {
		return nil
	}
	return func(context.Context) (gitsync.Credentials, error) {
		if tokenFile != "" && username == "" {
			token, err := readSecret(tokenFile)
			return gitsync.Credentials{Token: token}, err
		}
		password, err := readSecret(passwordFile + tokenFile)
		return gitsync.Credentials{Username: username, Password: password}, err
	}
}

// board is how the records are reached. What the agent's configuration says
// goes before fleet.yaml; credentials are never sent to another place than
// they were given for.
func (c *config) board(place *planner.RecordsPlace, log *slog.Logger) gitsync.BoardConfig {
	var inFleet planner.RecordsPlace
	if place != nil {
		inFleet = *place
	}
	r, repo := c.Records, c.Repository
	out := gitsync.BoardConfig{
		URL: cmp.Or(r.URL, inFleet.URL, repo.URL), Prefix: cmp.Or(r.Prefix, inFleet.Prefix), Log: log,
		CAFile: cmp.Or(r.CAFile, repo.CAFile), SSHKeyFile: cmp.Or(r.SSHKeyFile, repo.SSHKeyFile),
		KnownHostsFile: cmp.Or(r.KnownHostsFile, repo.KnownHostsFile),
		Credentials:    credentials(r.Username, r.PasswordFile, r.TokenFile),
	}
	if out.URL == repo.URL {
		out.Branch = repo.Branch
	}
	if out.Credentials == nil && (out.URL == repo.URL || r.URL != "") {
		out.Credentials = credentials(repo.Username, repo.PasswordFile, repo.TokenFile)
	}
	return out
}

// readSecret reads a secret from its file at every use, so that it can be
// renewed without a restart.
func readSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(data)), nil
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

// policy is what the node allows, with what is the agent's own reserved.
func (c *config) policy() planner.Policy {
	p := planner.Policy{
		Drivers: c.Policy.Drivers, HostPaths: c.Policy.HostPaths, Devices: c.Policy.Devices,
		Privileged: c.Policy.Privileged, HostNetwork: c.Policy.HostNetwork, Registries: c.Policy.Registries,
		ReservedPaths: c.reservedPaths(),
	}
	for _, name := range c.Policy.Capabilities {
		p.Capabilities = append(p.Capabilities, strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	for host := range c.Registries {
		p.KnownRegistries = append(p.KnownRegistries, host)
	}
	if addr, err := netip.ParseAddrPort(c.API.Address); err == nil {
		p.ReservedPorts = append(p.ReservedPorts, int(addr.Port()))
	}
	return p
}

// reservedPaths are the agent's own: its folders, its credentials, the socket
// of containerd. Each stands with the place it really leads to (/var/run is a
// link), because host paths are judged by where they lead.
func (c *config) reservedPaths() []string {
	own := []string{c.StateDir, c.RunDir, filepath.Dir(c.containerdAddress()), c.Repository.TokenFile, c.Repository.PasswordFile,
		c.Repository.SSHKeyFile, c.Records.TokenFile, c.Records.PasswordFile, c.Records.SSHKeyFile}
	for _, r := range c.Registries {
		own = append(own, r.PasswordFile)
	}
	for _, p := range c.Plugins {
		own = append(own, p.Path)
	}
	var all []string
	for _, path := range own {
		if path == "" {
			continue
		}
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		all = append(all, path, realPath(path))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// realPath follows the links in a path as far as it exists.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	return filepath.Join(realPath(dir), filepath.Base(path))
}
