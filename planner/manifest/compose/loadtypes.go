package compose

import (
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// types has compose-go make its own types of the model. Everything of it that
// looks at a disk, an environment or a network is off: what such a look would
// find is put in beforehand, from the snapshot.
func (l *load) types(m *model, p *Project, h head, env map[string]string) *types.Project {
	wrong := func(err error) *types.Project {
		l.faults.add(l.foreign(err, p.Position))
		return nil
	}
	if len(mapping(m.dict["services"])) > maxServices {
		l.faults.add(p.Position("services").fault("has more than 500 services", "split the project"))
		return nil
	}
	loader.ResolveEnvironment(m.dict, env)
	m.dict["name"] = h.name
	var normal map[string]any
	if err := guarded(func() (err error) { normal, err = loader.Normalize(m.dict, env); return err }); err != nil {
		return wrong(err)
	}
	made, err := toTypes(normal, h, env, false)
	for range maxRounds { // what is wrong is taken out, so that the rest is looked at, too
		if err == nil || !l.undecoded(err, normal, p.Position) {
			break
		}
		made, err = toTypes(normal, h, env, false)
	}
	if err != nil {
		return nil
	}
	l.consistent(normal, made, h, p, env)
	for _, name := range slices.Sorted(maps.Keys(made.Services)) {
		s := made.Services[name]
		l.variables(&s.ContainerSpec, "services."+name, p, env)
		l.labels(&s.ContainerSpec, "services."+name, p)
		made.Services[name] = s
	}
	l.forgetDisabled(made)
	return made
}

// toTypes decodes a model. The model is copied: decoding changes it.
func toTypes(dict map[string]any, h head, env map[string]string, check bool) (made *types.Project, err error) {
	details := types.ConfigDetails{WorkingDir: ".", Environment: env}
	options := loader.ToOptions(&details, []func(*loader.Options){func(o *loader.Options) {
		o.SkipConsistencyCheck, o.SkipInclude, o.SkipExtends = !check, true, true
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true
		o.ResolvePaths, o.SkipInterpolation = false, true
		o.Profiles = h.profiles
		o.SetProjectName(h.name, true)
	}})
	err = guarded(func() (err error) {
		made, err = loader.ModelToProject(clone(dict).(map[string]any), options, details)
		return err
	})
	return made, err
}

// variables completes the environment of a container: from the files it names,
// and with the fleet's variables where it gives only a name.
func (l *load) variables(c *types.ContainerSpec, field string, p *Project, env map[string]string) {
	all := types.MappingWithEquals{}
	own := c.Environment.Resolve(lookup(env))
	find := func(name string) (string, bool) {
		if v, ok := env[name]; ok {
			return v, true
		}
		if v := own[name]; v != nil {
			return *v, true
		}
		return "", false
	}
	vars := own.ToMapping()
	for i, file := range c.EnvFiles {
		l.readEnvFile(file, p.Position(indexed(field+".env_file", i)), vars, find)
	}
	maps.Copy(all, vars.ToMappingWithEquals())
	for name, v := range own {
		all[name] = v // also nil: a name alone counts more than the files, and has no value
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] == nil {
			l.faults.add(p.Position(field+".environment."+name).fault("variable "+plain(name)+" has no value: the environment of machines is not read", "write its value, or define it in spec.variables of fleet.yaml or in the .env beside the Compose file"))
		}
	}
	if len(all) > 0 || c.Environment != nil {
		c.Environment = all
	}
}

// labels completes the labels of a container from the files it names.
func (l *load) labels(c *types.ContainerSpec, field string, p *Project) {
	if len(c.LabelFiles) == 0 {
		return
	}
	all := types.Mapping{}
	for i, file := range c.LabelFiles {
		l.readEnvFile(types.EnvFile{Path: file, Required: true}, p.Position(indexed(field+".label_file", i)), all, lookup(all))
	}
	if c.Labels == nil {
		c.Labels = types.Labels{}
	}
	for name, v := range all {
		if _, given := c.Labels[name]; !given {
			c.Labels[name] = v
		}
	}
}
