package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/orpheus-cd/orpheus/planner"
)

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// consistent checks what services say of each other and of what the project
// has. compose-go's check tells of one fault only, and which one depends on the
// order of a map: it is asked about one service after the other.
func (l *load) consistent(dict map[string]any, made *types.Project, h head, p *Project, env map[string]string) {
	names := slices.Sorted(maps.Keys(made.Services))
	for _, name := range names {
		r := references{l: l, made: made, p: p, s: made.Services[name], at: "services." + name}
		if r.check(); r.wrong {
			continue
		}
		if err := checkAlone(dict, name, h, env); err != nil && !strings.Contains(err.Error(), "dependency cycle detected") { // see circles
			l.faults.add(l.foreignOf(err, r.at, p.Position))
		}
	}
	l.circles(made, names, p)
}

// references checks what one service refers to.
type references struct {
	l     *load
	made  *types.Project
	p     *Project
	s     types.ServiceConfig
	at    string
	wrong bool
}

func (r *references) missing(field, what, name, remedy string) {
	r.wrong = true
	r.l.faults.add(r.p.Position(field).fault(what+" "+quote(name)+" is not defined in this project", remedy))
}

func (r *references) check() {
	for i, v := range r.s.Volumes {
		if _, ok := r.made.Volumes[v.Source]; v.Type == types.VolumeTypeVolume && v.Source != "" && !ok {
			r.missing(indexed(r.at+".volumes", i), "volume", v.Source, "add it below volumes:, or write ./"+plain(v.Source)+" if it is a path")
		}
	}
	for i, c := range r.s.Configs {
		if _, ok := r.made.Configs[c.Source]; !ok {
			r.missing(indexed(r.at+".configs", i), "config", c.Source, "add it below configs:")
		}
	}
	for i, c := range r.s.Secrets {
		if _, ok := r.made.Secrets[c.Source]; !ok {
			r.missing(indexed(r.at+".secrets", i), "secret", c.Source, "add it below secrets:")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.s.Networks)) {
		if _, ok := r.made.Networks[name]; !ok {
			r.missing(r.at+".networks."+name, "network", name, "add it below networks:")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.s.DependsOn)) {
		_, ok := r.made.Services[name]
		off, disabled := r.made.DisabledServices[name]
		switch {
		case ok, disabled && !r.s.DependsOn[name].Required:
		case disabled:
			r.wrong = true
			r.l.faults.add(r.p.Position(r.at+".depends_on."+name).fault("service "+quote(name)+" does not run: its profiles are "+plain(strings.Join(off.Profiles, ", ")),
				"ask for one with x-orpheus: {profiles: ["+plain(off.Profiles[0])+"]} at the top, or write required: false"))
		default:
			r.missing(r.at+".depends_on."+name, "service", name, "correct the name")
		}
	}
}

// checkAlone asks compose-go about one service: the others are there, and
// nothing can be wrong with them.
func checkAlone(dict map[string]any, name string, h head, env map[string]string) error {
	alone := maps.Clone(dict)
	services := map[string]any{}
	for other, s := range mapping(dict["services"]) {
		if other == name {
			services[other] = s
			continue
		}
		services[other] = map[string]any{"image": "other", "profiles": mapping(s)["profiles"], "build": mapping(s)["build"]}
		for key, v := range mapping(services[other]) {
			if v == nil {
				delete(mapping(services[other]), key)
			}
		}
	}
	alone["services"] = services
	_, err := toTypes(alone, h, env, true)
	return err
}

// circles refuses services that wait for each other.
func (l *load) circles(made *types.Project, names []string, p *Project) {
	done := map[string]bool{}
	var visit func(name string, chain []string) bool
	visit = func(name string, chain []string) bool {
		if i := slices.Index(chain, name); i >= 0 {
			circle := append(slices.Clone(chain[i:]), name)
			at := p.Position("services." + circle[0] + ".depends_on." + circle[1])
			l.faults.add(at.fault("services wait for each other: "+plain(strings.Join(circle, ", which depends on ")), "take one dependency out"))
			return false
		}
		if done[name] {
			return true
		}
		done[name] = true
		for _, other := range slices.Sorted(maps.Keys(made.Services[name].DependsOn)) {
			if !visit(other, append(slices.Clip(chain), name)) {
				return false
			}
		}
		return true
	}
	for _, name := range names {
		if !visit(name, nil) {
			return
		}
	}
}

// ranges bounds what ranges of ports come to before compose-go writes them out,
// and names those that it could not: it would not say where they are.
func (l *load) ranges(cfg map[string]any, d *document) bool {
	left, good := maxPublished, true
	for _, kind := range []string{"services", "jobs"} {
		for _, name := range slices.Sorted(maps.Keys(mapping(cfg[kind]))) {
			ports, _ := mapping(mapping(cfg[kind])[name])["ports"].([]any)
			for i, port := range ports {
				text, ok := port.(string)
				if !ok {
					continue
				}
				if left -= portsOf(text); left < 0 && good {
					good = false
					l.faults.add(d.position(indexed(join(kind, name)+".ports", i)).fault(fmt.Sprintf("is one too many: a Compose file may have %d ports, ranges counted", maxPublished), "publish only those that are used"))
				}
				if left < 0 {
					continue
				}
				if _, err := types.ParsePortConfig(text); err != nil {
					good = false
					l.faults.add(d.position(indexed(join(kind, name)+".ports", i)).fault("cannot be read: "+harmless(err.Error()), `write "8080:80", or ranges of one length as "8000-8010:8000-8010"`))
				}
			}
		}
	}
	return good
}

// portsOf is how many ports a text such as 8000-8010:80/tcp may stand for: as
// many as its longest range.
func portsOf(text string) int {
	most := 1
	text, _, _ = strings.Cut(text, "/")
	for _, part := range strings.Split(text, ":") {
		from, to, ok := strings.Cut(part, "-")
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if ok && err1 == nil && err2 == nil {
			most = max(most, last-first+1)
		}
	}
	return most
}

// forgetDisabled drops what is said of services that do not run.
func (l *load) forgetDisabled(made *types.Project) {
	l.faults.drop(func(f planner.Fault) bool {
		for name := range made.DisabledServices {
			if f.Field == "services."+name || strings.HasPrefix(f.Field, "services."+name+".") {
				return true
			}
		}
		return false
	})
}
