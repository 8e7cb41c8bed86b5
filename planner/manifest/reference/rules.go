package reference

// rules are those about several fields of one object, as planner/manifest
// checks them: by section of the page and path of the object in it. A test
// holds them equal to what that refuses.
func (b *Book) rules() map[string][]*schema {
	return map[string][]*schema{
		"Service spec":               append(b.specRules(), containerRules()...),
		"Service spec.tolerations[]": tolerationRules(),
		"Container ":                 containerRules(),
		"Hook ":                      {{AnyOf: []*schema{required("command"), required("image")}}},
		"Fleet spec.variables[]":     b.variableRules(),
		"Fleet spec.budgets":         {{If: required("preset"), Then: refuses("readsPerSecond", "pushesPerMinute")}},
	}
}

// refuses is a schema that takes none of the fields.
func refuses(names ...string) *schema {
	s := &schema{}
	for _, name := range names {
		s.Properties = append(s.Properties, property{name, nil})
	}
	return s
}

// inside is a schema for one field of an object.
func inside(name string, s *schema) *schema { return &schema{Properties: properties{{name, s}}} }

// some is a schema for an object with a list that is not empty.
func some(name string) *schema { return both(required(name), inside(name, &schema{MinItems: 1})) }

func without(name string) *schema { return &schema{Not: required(name)} }

func both(a, b *schema) *schema { return &schema{AllOf: []*schema{a, b}} }

// specRules say where a container's fields stand, and what a service cannot do
// without, by its driver.
func (b *Book) specRules() []*schema {
	var flat []string
	for _, k := range b.Kinds {
		if k.Name != flatKind {
			continue
		}
		for _, f := range k.find("spec").Fields {
			if f.flat && !f.Later {
				flat = append(flat, f.Name)
			}
		}
	}
	imageOfEach := func(list string) *schema { return inside(list, &schema{Items: required("image")}) }
	images := &schema{AnyOf: []*schema{without("driver"), given("driver", "containerd")}} // as without
	ofNetwork := inside("name", &schema{Not: &schema{Type: types{"string"}, Pattern: `^net\.`}})
	return []*schema{
		{If: required("containers"), Then: refuses(flat...)},
		{If: both(images, without("containers")), Then: required("image")},
		{If: both(images, required("containers")), Then: imageOfEach("containers")},
		{If: images, Then: imageOfEach("initContainers")},
		inside("containers", &schema{MinItems: 1}),
		{If: given("driver", "process"), Then: refuses("image", "initContainers", "volumeMounts", "hostname", "hostAliases", "dns", "sysctls", "imagePorts", "init")},
		{If: both(given("driver", "process"), required("containers")), Then: inside("containers", &schema{Items: refuses("init")})},
		{If: both(given("driver", "process"), without("containers")), Then: some("command")},
		{If: given("driver", "process"), Then: inside("hooks", &schema{Properties: properties{
			{"preRollout", both(refuses("image", "volumeMounts"), required("command"))}, {"postRollout", both(refuses("image", "volumeMounts"), required("command"))}}})},
		// The driver of a plugin runs an image or a program.
		{If: both(required("driver"), without("containers")), Then: &schema{AnyOf: []*schema{some("command"), required("image"), required("args")}}},
		{If: given("network", "host"), Then: refuses("hostAliases", "dns", "imagePorts")},
		{If: given("network", "host"), Then: inside("sysctls", &schema{Items: ofNetwork})},
		{If: given("everyNode", true), Then: refuses("replicas")},
		inside("initContainers", &schema{Items: refuses("startupProbe", "livenessProbe", "readinessProbe", "lifecycle")}),
	}
}

func containerRules() []*schema {
	one, group := int64(1), &schema{Type: types{"string"}, Pattern: ":", Not: &schema{Pattern: variable}}
	once := inside("successThreshold", &schema{Maximum: &one})
	return []*schema{
		inside("startupProbe", once),
		inside("livenessProbe", once),
		inside("readinessProbe", refuses("terminationGracePeriodSeconds")),
		inside("securityContext", &schema{AllOf: []*schema{
			{If: required("runAsUser"), Then: refuses("runAsUserName")},
			{If: required("runAsGroup"), Then: inside("runAsUserName", &schema{Not: group})},
		}}),
	}
}

func tolerationRules() []*schema {
	all := given("operator", "Exists")
	variable := both(required("operator"), inside("operator", &schema{Pattern: variable}))
	return []*schema{
		{If: all, Then: refuses("value")},
		{If: &schema{Not: &schema{AnyOf: []*schema{all, variable}}}, Then: required("key")},
	}
}

// variableRules say what values a variable of a type has.
func (b *Book) variableRules() []*schema {
	one := &schema{Type: types{"string"}, Pattern: whole(variable)}
	amount := ""
	for _, k := range b.Kinds {
		if k.Name == flatKind {
			amount = k.find("spec").find("resources").find("limits").find("memory").shape.Pattern
		}
	}
	none := int64(0)
	of := func(kind string, takes ...*schema) *schema {
		return &schema{If: given("type", kind), Then: inside("value", &schema{AnyOf: append(takes, one)})}
	}
	return []*schema{
		of("string", &schema{Type: types{"string"}}),
		of("int", &schema{Type: types{"integer"}}),
		of("bool", &schema{Type: types{"boolean"}}),
		of("quantity", &schema{Type: types{"number"}, Minimum: &none}, &schema{Type: types{"string"}, Pattern: alternative(whole(amount), variable)}),
	}
}
