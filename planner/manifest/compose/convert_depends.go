package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// findHooks finds the services that run to their end before another begins.
func (c *converter) findHooks() {
	waits, others := map[string][]string{}, map[string][]string{}
	for _, name := range c.enabled {
		for on, d := range c.p.Types.Services[name].DependsOn {
			if d.Condition == types.ServiceConditionCompletedSuccessfully {
				waits[on] = append(waits[on], name)
			} else {
				others[on] = append(others[on], name)
			}
		}
	}
	first := map[string]string{} // services that wait, each with what for
	for _, on := range slices.Sorted(maps.Keys(waits)) {
		if _, enabled := c.p.Types.Services[on]; !enabled {
			continue
		}
		waiting := waits[on]
		at := "services." + waiting[0] + ".depends_on." + on
		c.completes[on] = unclear
		switch {
		case len(waiting) > 1:
			c.fault(at, fmt.Sprintf("has %s run before %s: it can run to its end before one of them", quote(on), strings.Join(waiting, " and ")), "let one of them wait for it, and the others depend on that one by service_healthy")
		case len(others[on]) > 0:
			c.fault(at, "waits for the end of "+quote(on)+", which "+others[on][0]+" wants to run", "let one of them not depend on it")
		case first[waiting[0]] != "":
			c.fault(at, "has a second service run before it, beside "+quote(first[waiting[0]]), "run both in one: a service has one hook before its rollout")
		case len(waits[waiting[0]]) > 0:
			c.fault(at, "has "+quote(on)+" run before what itself runs to its end", "run both in one: a hook has none of its own")
		default:
			c.completes[on] = waiting[0]
			first[waiting[0]] = on
		}
	}
}

// depends says what must be there first.
func (s *service) depends() {
	wanted := object{}
	for _, on := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[on]
		at := s.keyed("depends_on", on)
		other, enabled := s.p.Types.Services[on]
		switch {
		case !enabled, on == s.Name: // Load says so, the former where it is required
		case s.completes[on] == s.Name:
			s.hook(s.service(on), at, &wanted)
		case s.completes[on] != "": // said already
		case d.Condition == types.ServiceConditionHealthy:
			if !hasTest(other) {
				s.warn(at, quote(on)+" has no healthcheck in the file: it counts as healthy when it has run for a second; those of images are not looked at", "give it a healthcheck")
			}
			wanted.Put(s.names[on], "ready", at)
		default:
			if wanted.Get(s.names[on]) == nil {
				wanted.Put(s.names[on], "started", at)
			}
		}
	}
	if len(wanted) > 0 {
		s.spec.Put("dependsOn", wanted, s.field("depends_on"))
	}
}

// hook makes a service that runs to its end the hook before each rollout of this
// one. A hook has the container of its service with another program and other
// files: what it could not have of its own must be the same.
func (s *service) hook(once *service, at string, wanted *object) {
	hook := object{}
	for _, name := range []string{"image", "command", "args", "env", "resources"} {
		if v := once.spec.Get(name); v != nil {
			hook.Put(name, v, origin(once.spec, name))
		}
	}
	if hook.Get("resources") == nil && s.spec.Get("resources") != nil {
		hook.Put("resources", object{}, once.at) // not those of the service
	}
	if over, ok := s.p.Extensions[once.Name]; ok {
		overlay(&hook, over, once.field("x-orpheus"))
	}
	s.checkAsHook(once)
	s.hookMounts(once, &hook)
	if strings.HasPrefix(once.Restart, types.RestartPolicyOnFailure) {
		s.warn(once.field("restart"), "has no effect: a hook that fails is not tried again, and its rollout goes no further", "have the program try again by itself")
	}
	s.spec.Put("hooks", object{member("preRollout", hook, once.at)}, at)
	for _, m := range onceWanted(once) {
		if wanted.Get(m.Name) != "ready" && m.Name != s.names[s.Name] {
			wanted.Put(m.Name, m.Value, m.From)
		}
	}
}

// onceWanted is what a service that runs to its end waits for.
func onceWanted(once *service) object {
	wanted, _ := once.spec.Get("dependsOn").(object)
	return wanted
}

// checkAsHook refuses what a hook cannot have otherwise than its service.
func (s *service) checkAsHook(once *service) {
	for _, f := range []struct{ name, key string }{
		{"workingDir", "working_dir"}, {"securityContext", "user"}, {"devices", "devices"}, {"ulimits", "ulimits"},
		{"sysctls", "sysctls"}, {"hostAliases", "extra_hosts"}, {"dns", "dns"}, {"network", "network_mode"}, {"nodeSelector", "platform"},
	} {
		own, its := once.spec.Get(f.name), s.spec.Get(f.name)
		if bare(own) == bare(its) {
			continue
		}
		key := f.key
		switch {
		case f.name == "securityContext":
			key = securityKey(once, s)
		case f.name == "nodeSelector" && once.Platform == s.Platform:
			key = "deploy.placement"
		}
		s.fault(once.field(key), "differs from that of "+quote(s.Name)+", before which it runs to its end: it runs as a hook of that service, with the same", "write the same in both")
	}
	if n, given := once.spec.Get("replicas").(int); given && n != 1 || once.spec.Get("everyNode") != nil {
		s.fault(once.field("deploy"), "has it run more than once, or never: what runs to its end before a service runs once in the whole fleet", "remove mode, replicas and scale")
	}
	if once.Hostname != "" && !strings.EqualFold(once.Hostname, s.Hostname) {
		s.warn(once.field("hostname"), "is not kept: it runs as a hook of "+quote(s.Name)+", under a host name of that one", "remove it")
	}
	if once.spec.Get("init") != nil && s.spec.Get("init") == nil {
		s.warn(once.field("init"), "is not kept: it runs as a hook of "+quote(s.Name)+", which has none", "write init: true there too")
	}
	if len(once.Ports) > 0 {
		s.fault(once.field("ports"), "is not possible: what runs to its end takes no connections", "remove it")
	}
}

// hookMounts gives the hook what its service mounts, and nothing of what the one
// that it runs before does. Its files are volumes of that one: whenever they
// change it runs again, before a rollout.
func (s *service) hookMounts(once *service, hook *object) {
	var mounts list
	for _, m := range once.mounts {
		mount := slices.Clone(m.Value.(object))
		volume := slices.Clone(once.volume(mount.Get("name")))
		if volume.Get("local") != nil || volume.Get("hostPath") != nil {
			s.fault(m.From, "is not possible: what runs to its end before a service sees none of its data", "remove it, or do the work at the start of "+quote(s.Name))
			continue
		}
		name := s.alike(volume)
		if name == "" {
			name = s.freshName(fmt.Sprint(volume.Get("name")))
			volume.Put("name", name, "")
			s.volumes = append(s.volumes, item(volume, m.From))
		}
		mount.Put("name", name, "")
		mounts = append(mounts, item(mount, m.From))
	}
	maps.Copy(s.contents, once.contents)
	if len(s.volumes) > 0 {
		hook.Put("volumeMounts", mounts, once.at)
	}
}

// alike is the name of the service's volume that has the same in it, "" = none.
func (s *service) alike(volume object) string {
	for _, v := range s.volumes {
		own := v.Value.(object)
		if file := volume.Get("file"); file != nil && own.Get("file") == file {
			return own.Get("name").(string)
		}
	}
	return ""
}

// securityKey is the key of the first thing that differs.
func securityKey(a, b *service) string {
	for _, f := range []struct{ name, key string }{
		{"runAsUser", "user"}, {"runAsUserName", "user"}, {"runAsGroup", "user"}, {"readOnlyRootFilesystem", "read_only"},
		{"privileged", "privileged"}, {"capabilities", "cap_add"}, {"supplementalGroups", "group_add"},
	} {
		if bare(a.security.Get(f.name)) != bare(b.security.Get(f.name)) {
			return f.key
		}
	}
	return "security_opt"
}

// volume is one of the service's volumes.
func (s *service) volume(name any) object {
	for _, v := range s.volumes {
		if o := v.Value.(object); o.Get("name") == name {
			return o
		}
	}
	return nil
}

// bare is a value in a form that can be compared, without where it comes from.
func bare(v any) string {
	switch v := v.(type) {
	case object:
		parts := make([]string, len(v))
		for i, m := range v {
			parts[i] = m.Name + "=" + bare(m.Value)
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	case list:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = bare(e.Value)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return fmt.Sprintf("%#v", v)
}
