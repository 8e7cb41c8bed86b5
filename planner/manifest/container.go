package manifest

import (
	"strings"

	"github.com/distribution/reference"
	"github.com/orpheus-cd/orpheus/planner"
)

// container is a container as written: its ports carry more than the template
// keeps.
type container struct {
	planner.Container
	ports []port
}

// containerFields are those of a container, written flat in spec or as an item
// of containers and initContainers. All but what is said of ports restarts.
var containerFields = []field[container]{
	text("image", imageReference, func(c *container) *string { return &c.Image }).restart(),
	texts("command", maxArguments, longText, func(c *container) *[]string { return &c.Command }).restart(),
	texts("args", maxArguments, longText, func(c *container) *[]string { return &c.Args }).restart(),
	text("workingDir", absolutePath, func(c *container) *string { return &c.WorkingDir }).restart(),
	objects("env", maxEnv, envSchema, func(c *container) *[]planner.EnvVar { return &c.Env }).restart(),
	objects("ports", maxPorts, portSchema, func(c *container) *[]port { return &c.ports }),
	object("resources", resourcesSchema, func(c *container) *planner.Resources { return &c.Resources }).restart(),
	objects("volumeMounts", maxVolumes, mountSchema, func(c *container) *[]planner.VolumeMount { return &c.VolumeMounts }).restart(),
	texts("devices", maxDevices, devicePath, func(c *container) *[]string { return &c.Devices }).restart(),
	object("securityContext", securitySchema, func(c *container) *planner.Security { return &c.Security }).restart(),
	objects("ulimits", maxUlimits, ulimitSchema, func(c *container) *[]planner.Ulimit { return &c.Ulimits }).restart(),
	special("stopSignal", signalShape, decodeStopSignal).restart(),
	boolean("init", func(c *container) *bool { return &c.Init }).restart(),
	pointer("startupProbe", probeSchema, func(c *container) **planner.Probe { return &c.StartupProbe }).restart().in("Probe"),
	pointer("livenessProbe", probeSchema, func(c *container) **planner.Probe { return &c.LivenessProbe }).restart().in("Probe"),
	pointer("readinessProbe", probeSchema, func(c *container) **planner.Probe { return &c.ReadinessProbe }).restart().in("Probe"),
	pointer("lifecycle", lifecycleSchema, func(c *container) **planner.Lifecycle { return &c.Lifecycle }).restart(),
}

var containerSchema = newSchema(append([]field[container]{
	text("name", dnsLabel(63), func(c *container) *string { return &c.Name }).must().restart(),
}, containerFields...)...).foreign(containerHabits...).like("{name: web, image: registry.example.com/team/web:1.2.3}")

var envSchema = newSchema(
	text("name", envName, func(e *planner.EnvVar) *string { return &e.Name }).must(),
	text("value", longText, func(e *planner.EnvVar) *string { return &e.Value }),
	pointer("valueFrom", envSourceSchema, func(e *planner.EnvVar) **planner.EnvSource { return &e.ValueFrom }).notYet(),
).like("{name: LOG_LEVEL, value: info}")

var envSourceSchema = newSchema(
	pointer("secretKeyRef", keyRefSchema, func(s *planner.EnvSource) **planner.KeyRef { return &s.SecretKeyRef }),
	pointer("configMapKeyRef", keyRefSchema, func(s *planner.EnvSource) **planner.KeyRef { return &s.ConfigMapKeyRef }),
)

var keyRefSchema = newSchema(
	text("name", dnsLabel(63), func(k *planner.KeyRef) *string { return &k.Name }).must(),
	text("key", labelValue, func(k *planner.KeyRef) *string { return &k.Key }).must(),
)

var mountSchema = newSchema(
	text("name", dnsLabel(63), func(m *planner.VolumeMount) *string { return &m.Name }).must(),
	text("mountPath", mountPath, func(m *planner.VolumeMount) *string { return &m.MountPath }).must(),
	boolean("readOnly", func(m *planner.VolumeMount) *bool { return &m.ReadOnly }),
).foreign("subPath", "mount the whole volume").like("{name: data, mountPath: /data}")

// imageReference allows what registries and containerd take for a reference.
var imageReference = rule{checkImageReference, form{
	pattern: strings.Trim(reference.ReferenceRegexp.String(), "^$"),
	says:    "an image reference such as registry.example.com/team/web:1.2.3",
}}

func checkImageReference(s string) (string, string) {
	switch {
	case s == "":
		return "must not be empty", ""
	case len(s) > maxImageBytes:
		return "is too long for an image reference", ""
	case strings.Contains(s, "://"):
		return "is not an image reference", "write it without the scheme"
	case strings.TrimSpace(s) != s:
		return "has white space around it", "remove it"
	}
	ref, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return "is not an image reference: " + err.Error(), "write it like registry.example.com/team/web:1.2.3"
	}
	if d, ok := ref.(reference.Digested); ok && d.Digest().Algorithm() != "sha256" {
		return "has a digest that is not SHA-256", ""
	}
	return "", ""
}

// bareImage reports whether a valid reference names neither tag nor digest.
func bareImage(s string) bool {
	ref, err := reference.ParseNormalizedNamed(s)
	return err == nil && reference.IsNameOnly(ref)
}

// signals are those a container can be asked to stop with.
var signals = []string{
	"SIGHUP", "SIGINT", "SIGQUIT", "SIGABRT", "SIGUSR1", "SIGUSR2", "SIGALRM",
	"SIGTERM", "SIGCONT", "SIGWINCH", "SIGPWR", "SIGKILL",
}

// signalShape is a signal with or without SIG.
var signalShape = func() Shape {
	names := anyCase(signals...)
	bare := make([]string, len(signals))
	for i, s := range signals {
		bare[i] = strings.TrimPrefix(s, "SIG")
	}
	names.Pattern += "|" + anyCase(bare...).Pattern
	names.Says = "a signal such as SIGTERM"
	return names
}()

// decodeStopSignal takes names with and without SIG.
func decodeStopSignal(d *decoder, v value, into *container) {
	s, ok := d.text(v, anyText)
	if !ok {
		return
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if reason, remedy := oneOf(signals...).check(name); reason != "" {
		d.wrong(v, quote(s)+" is not a signal to stop with", remedy)
		return
	}
	into.StopSignal = name
}
