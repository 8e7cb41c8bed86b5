package compose

import (
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// checkProject looks at what the project says beside its services, as far as
// they use it.
func (c *converter) checkProject() {
	for _, key := range slices.Sorted(maps.Keys(c.p.Extension)) {
		if key != "namespace" && key != "profiles" {
			c.fault("x-orpheus."+key, "is not known here", "at the top of a file x-orpheus has namespace and profiles; fields of one service belong into x-orpheus of that service")
		}
	}
	switch off := slices.Sorted(maps.Keys(c.p.Types.DisabledServices)); {
	case len(c.enabled) > 0:
	case len(off) > 0:
		c.warn("services", "runs nothing: none of the profiles of "+plain(strings.Join(off, ", "))+" is asked for", "ask for one with x-orpheus: {profiles: […]} at the top, or take the file out of what is listed")
	default:
		c.warn("services", "runs nothing: there are no services", "write services into the file, or take it out of what is listed")
	}
	networks, volumes := map[string]bool{}, map[string]bool{}
	for _, name := range c.enabled {
		s := c.p.Types.Services[name]
		for n := range s.Networks {
			networks[n] = true
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source != "" {
				volumes[v.Source] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		c.checkNetwork("networks."+name, c.p.Types.Networks[name])
	}
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		c.checkVolume("volumes."+name, c.p.Types.Volumes[name])
	}
	c.checkApart()
}

func (c *converter) checkNetwork(at string, n types.NetworkConfig) {
	if n.Internal {
		c.fault(at+".internal", "is not possible: instances of a fleet reach what their node reaches", "remove it, and keep the service from the world by a firewall of the nodes or of the program")
	}
	if bool(n.External) {
		return // said already
	}
	switch n.Driver {
	case "", "bridge", "overlay", "default":
	default:
		c.fault(at+".driver", quote(n.Driver)+" is not possible: every instance is on the network of its node", "remove it")
	}
	for _, option := range slices.Sorted(maps.Keys(n.DriverOpts)) {
		if strings.HasPrefix(option, "com.docker.network.") {
			c.warn(at+".driver_opts."+option, "changes nothing: the network is the node's", "remove it")
			continue
		}
		remedy := "remove it"
		if option == "encrypted" {
			remedy = "put the nodes' addresses on WireGuard, and remove it"
		}
		c.fault(at+".driver_opts."+option, quote(option)+" is not possible: the network is the node's", remedy)
	}
}

func (c *converter) checkVolume(at string, v types.VolumeConfig) {
	if bool(v.External) {
		c.fault(at+".external", "is not possible: a volume is made on the node that its slot runs on", "remove it; to keep what is in it copy it into the new volume, which orpheus status SERVICE names")
		return
	}
	if v.Driver != "" && v.Driver != "local" {
		c.fault(at+".driver", quote(v.Driver)+" is not possible: volumes are folders on the disk of a node", "remove it, or mount the storage on the nodes and name its path: /mnt/NAME:/data")
	}
	if len(v.DriverOpts) > 0 {
		remedy := "mount the storage on the nodes, and name its path: /mnt/NAME:/data"
		switch device := v.DriverOpts["device"]; {
		case v.DriverOpts["type"] == "tmpfs":
			remedy = "write tmpfs: [PATH] in the service"
		case v.DriverOpts["type"] == "none" && strings.HasPrefix(device, "/"):
			remedy = "name the path in the service: " + device + ":/data"
		}
		c.fault(at+".driver_opts", "is not possible: volumes are folders on the disk of a node", remedy)
	}
}

// checkApart warns where services are kept apart by their networks: here they
// are not.
func (c *converter) checkApart() {
	for i, a := range c.enabled {
		one := c.p.Types.Services[a]
		for _, b := range c.enabled[i+1:] {
			other := c.p.Types.Services[b]
			if len(one.Networks) == 0 || len(other.Networks) == 0 || meet(one.Networks, other.Networks) {
				continue
			}
			c.warn("services."+a+".networks", "does not keep "+quote(a)+" and "+quote(b)+" apart: networks give names here, and no isolation", "have programs ask who they talk to, or run what must be kept apart in another fleet")
			return
		}
	}
}

func meet(a, b map[string]*types.ServiceNetworkConfig) bool {
	for name := range a {
		if _, ok := b[name]; ok {
			return true
		}
	}
	return false
}
