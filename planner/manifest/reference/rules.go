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
	imageOfEach := inside("containers", &schema{Items: required("image")})
	ofNetwork := inside("name", &schema{Not: &schema{Type: types{"string"}, Pattern: `^net\.`}})
	return []*schema{
		{If: required("containers"), Then: refuses(flat...)},
		{If: both(without("driver"), without("containers")), Then: required("image")},
		{If: both(without("driver"), required("containers")), Then: imageOfEach},
		{If: given("driver", "process"), Then: refuses("image", "initContainers", "volumeMounts", "hostname", "hostAliases", "sysctls", "imagePorts")},
		{If: both(given("driver", "process"), without("containers")), Then: required("command")},
		{If: given("driver", "process"), Then: inside("hooks", &schema{Properties: properties{
			{"preRollout", both(refuses("image", "volumeMounts"), required("command"))}, {"postRollout", both(refuses("image", "volumeMounts"), required("command"))}}})},
		// The driver of a plugin runs an image or a program.
		{If: both(required("driver"), without("containers")), Then: &schema{AnyOf: []*schema{required("command"), required("image"), required("args")}}},
		{If: given("network", "host"), Then: refuses("hostAliases", "imagePorts")},
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
