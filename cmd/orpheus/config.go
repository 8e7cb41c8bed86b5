//go:build linux

package main

import (
	"encoding/json"
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

	"github.com/orpheus-cd/orpheus/planner"
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
	DockerConfig string                    `json:"dockerConfig"` // path of docker's config.json; "" = it is not read
	Policy       policyConfig              `json:"policy"`
	Pressure     pressureConfig            `json:"pressure"`
	API          apiConfig                 `json:"api"`
	Webhook      webhookConfig             `json:"webhook"`
	Notify       notifyConfig              `json:"notify"`
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

// peerConfig is how other nodes of the fleet watch this one.
type peerConfig struct {
	Listen  string `json:"listen"`  // host:port; "" = :7718, "none" = nobody watches it
	Address string `json:"address"` // host:port others reach it at; "" = found out
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

type apiConfig struct {
	Address string `json:"address"` // host:port on loopback; "" = 127.0.0.1:7717, "none" = the unix socket only
	// BridgePort is where instances of this node may read its endpoints; 0 =
	// nowhere.
	BridgePort int `json:"bridgePort"`
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
		if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) && typed.Field != "" {
			return c, fmt.Errorf("configuration %s: %s: a value of type %s does not belong there", path, typed.Field, typed.Value)
		}
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
	c.Repository.completeSelection()
	set(&c.Repository.Path, ".")
	set(&c.Coordination, coordinationLeases)
	set(&c.Peer.Listen, defaultPeerListen)
	set(&c.StateDir, defaultStateDir())
	set(&c.RunDir, defaultRunDir())
	set(&c.API.Address, defaultAPIAddress)
	set(&c.Webhook.Path, defaultWebhookPath)
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
	if slices.Contains(planner.HookKinds, planner.HookKind(c.Node.Name)) {
		fault("node.name: %q is the name of the slot of a hook; give the node another name", c.Node.Name)
	}
	if c.Repository.URL == "" {
		fault("repository.url: is missing; give the fleet's repository here or with --repository")
	}
	faults = append(faults, c.Repository.selectionFaults()...)
	if filepath.IsAbs(c.Repository.Path) || !fs.ValidPath(filepath.Clean(c.Repository.Path)) {
		fault("repository.path: %q must be a folder inside the repository, such as fleets/prod", c.Repository.Path)
	}
	if c.Repository.TokenFile != "" && c.Repository.PasswordFile != "" {
		fault("repository: give tokenFile or passwordFile, not both")
	}
	faults = append(faults, c.gitFaults()...)
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
	c.eachFile(func(field, path string) {
		if !filepath.IsAbs(path) {
			fault("%s: %q must be an absolute path: the agent may be started in any folder", field, path)
		}
	})
	faults = append(faults, c.Network.faults()...)
	if _, err := resource.ParseQuantity(c.Logs.MaxSize); err != nil {
		fault("logs.maxSize: %q is no size; write one such as 10Mi", c.Logs.MaxSize)
	}
	for _, name := range c.Policy.Drivers {
		if !c.hasDriver(name) {
			fault("policy.drivers: %q is no driver; write containerd, process or the name of a plugin", name)
		}
	}
	faults = append(faults, c.pluginFaults()...)
	faults = append(faults, c.pressureFaults()...)
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		fault("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if address := c.apiAddress(); address != "" {
		if addr, err := netip.ParseAddrPort(strings.Replace(address, "localhost:", "127.0.0.1:", 1)); err != nil || !addr.Addr().IsLoopback() {
			fault("api.address: %q is not on loopback; write %s, another port of 127.0.0.1, or none", address, defaultAPIAddress)
		}
	}
	c.bridgeFaults(fault)
	c.hostPortFaults(fault)
	c.Webhook.validate(fault)
	if c.Log.Format != "text" && c.Log.Format != "json" {
		fault("log.format: %q is neither text nor json", c.Log.Format)
	}
	faults = append(faults, c.registryFaults()...)
	faults = append(faults, c.notifyFaults()...)
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
