package planner

import "time"

// Template is what an instance is made from: the normalised part of a
// manifest whose change restarts the instance. Its canonical JSON is hashed
// into the revision, so the JSON form of this struct and everything below it
// is frozen: a field may be added if its zero value means the behaviour before
// it existed, nothing may be renamed, reordered in meaning or removed. Fields
// equal to their default hold their zero value (the manifest reader sees to
// it); the methods give the effective values.
type Template struct {
	Driver         string      `json:"driver,omitempty"` // "" = containerd
	InitContainers []Container `json:"initContainers,omitempty"`
	Containers     []Container `json:"containers"`
	Volumes        []Volume    `json:"volumes,omitempty"`
	HostNetwork    bool        `json:"hostNetwork,omitempty"`
	Hostname       string      `json:"hostname,omitempty"` // "" = service-slot
	// HostAliases are lines of /etc/hosts, in their order, beside those that every
	// instance has.
	HostAliases []HostAlias `json:"hostAliases,omitempty"`
	DNS         DNS         `json:"dns,omitzero"`
	Sysctls     []Sysctl    `json:"sysctls,omitempty"` // by name, each once
	// TerminationGracePeriodSeconds: nil = 30.
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
	// RestartedAt is the annotation orpheus/restartedAt.
	RestartedAt string `json:"restartedAt,omitempty"`
	// Once marks what runs to its end: it is started once under its lease and
	// never again, whatever becomes of it.
	Once bool `json:"once,omitempty"`
	// Of is the revision of the service that a hook is for.
	Of Revision `json:"of,omitempty"`
}

// The names of the two built-in drivers.
const (
	DriverContainerd = "containerd"
	DriverProcess    = "process"
)

// DriverName is the driver that runs the template.
func (t Template) DriverName() string {
	if t.Driver == "" {
		return DriverContainerd
	}
	return t.Driver
}

// DefaultGrace is the time between the stop signal and the kill.
const DefaultGrace = 30 * time.Second

// Grace is the time between the stop signal and the kill.
func (t Template) Grace() time.Duration {
	if t.TerminationGracePeriodSeconds == nil {
		return DefaultGrace
	}
	return time.Duration(*t.TerminationGracePeriodSeconds) * time.Second
}

// SingleWriter reports whether two instances of one slot may never exist at
// once on a node: it writes a volume that outlives it, uses the host's
// network or a device. Updates of such a slot are stop-first.
func (t Template) SingleWriter() bool {
	if t.HostNetwork || t.DriverName() == DriverProcess && t.hasPorts() {
		return true
	}
	writable := map[string]bool{}
	for _, v := range t.Volumes {
		writable[v.Name] = v.Local != nil || v.HostPath != nil
	}
	mounted := map[string]bool{}
	for _, c := range t.AllContainers() {
		if len(c.Devices) > 0 {
			return true
		}
		for _, m := range c.VolumeMounts {
			mounted[m.Name] = true
			if writable[m.Name] && !m.ReadOnly {
				return true
			}
		}
	}
	// A process sees its volumes by path, not by mount: all are writable. So
	// may what the driver of a plugin runs.
	if t.DriverName() != DriverContainerd {
		for _, v := range t.Volumes {
			if writable[v.Name] && !mounted[v.Name] {
				return true
			}
		}
	}
	return false
}

func (t Template) hasPorts() bool {
	for _, c := range t.Containers {
		if len(c.Ports) > 0 {
			return true
		}
	}
	return false
}

// AllContainers lists init containers, in their order, then the others.
func (t Template) AllContainers() []Container {
	all := make([]Container, 0, len(t.InitContainers)+len(t.Containers))
	return append(append(all, t.InitContainers...), t.Containers...)
}

// Images lists the image references of the template, each once, in order of
// first use.
func (t Template) Images() []string {
	var refs []string
	seen := map[string]bool{}
	for _, c := range t.AllContainers() {
		if c.Image != "" && !seen[c.Image] {
			seen[c.Image] = true
			refs = append(refs, c.Image)
		}
	}
	return refs
}

// Container is one container of an instance, or the process of the process
// driver. A service written flat has one container named "main".
type Container struct {
	Name         string          `json:"name"`
	Image        string          `json:"image,omitempty"`
	Command      []string        `json:"command,omitempty"`
	Args         []string        `json:"args,omitempty"`
	WorkingDir   string          `json:"workingDir,omitempty"`
	Env          []EnvVar        `json:"env,omitempty"`
	Ports        []ContainerPort `json:"ports,omitempty"`
	Resources    Resources       `json:"resources,omitzero"`
	VolumeMounts []VolumeMount   `json:"volumeMounts,omitempty"`
	Devices      []string        `json:"devices,omitempty"` // absolute paths under /dev
	Security     Security        `json:"securityContext,omitzero"`
	Ulimits      []Ulimit        `json:"ulimits,omitempty"`    // by name, each once
	StopSignal   string          `json:"stopSignal,omitempty"` // "" = the image's, else SIGTERM
	// Init has a first process that passes signals on to the program and reaps
	// what others leave behind.
	Init           bool       `json:"init,omitempty"`
	StartupProbe   *Probe     `json:"startupProbe,omitempty"`
	LivenessProbe  *Probe     `json:"livenessProbe,omitempty"`
	ReadinessProbe *Probe     `json:"readinessProbe,omitempty"`
	Lifecycle      *Lifecycle `json:"lifecycle,omitempty"`
}

// MainContainer is the name of the container of a service written flat.
const MainContainer = "main"

// EnvVar is one variable; later ones of the same name win.
type EnvVar struct {
	Name      string     `json:"name"`
	Value     string     `json:"value,omitempty"`
	ValueFrom *EnvSource `json:"valueFrom,omitempty"`
}

// EnvSource names the key a value is read from.
type EnvSource struct {
	SecretKeyRef    *KeyRef `json:"secretKeyRef,omitempty"`
	ConfigMapKeyRef *KeyRef `json:"configMapKeyRef,omitempty"`
}

// KeyRef names one key of a Secret or Config of the same namespace.
type KeyRef struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// ContainerPort is a port the container listens on.
type ContainerPort struct {
	Name          string `json:"name,omitempty"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol,omitempty"` // "" = tcp; or "udp"
}

// Resources are what an instance asks for and may use at most. Zero = none.
type Resources struct {
	Requests ResourceList `json:"requests,omitzero"`
	Limits   ResourceList `json:"limits,omitzero"`
}

// Asked is what the instance asks for: as in Kubernetes, a request that is not
// given is the limit. (A request equal to its limit is the default, and so
// zero.)
func (r Resources) Asked() ResourceList {
	asked := r.Requests
	if asked.CPUMillis == 0 {
		asked.CPUMillis = r.Limits.CPUMillis
	}
	if asked.MemoryBytes == 0 {
		asked.MemoryBytes = r.Limits.MemoryBytes
	}
	return asked
}

// ResourceList is an amount of each resource.
type ResourceList struct {
	CPUMillis   int64 `json:"cpu,omitempty"`    // thousandths of a core
	MemoryBytes int64 `json:"memory,omitempty"` // bytes
	PIDs        int64 `json:"pids,omitempty"`   // processes and threads; limits only
}

// Security is the subset of Kubernetes' securityContext that Orpheus knows.
// Zero values are the safe defaults.
type Security struct {
	RunAsUser              *int64   `json:"runAsUser,omitempty"`  // nil = the image's
	RunAsGroup             *int64   `json:"runAsGroup,omitempty"` // nil = the image's
	ReadOnlyRootFilesystem bool     `json:"readOnlyRootFilesystem,omitempty"`
	Privileged             bool     `json:"privileged,omitempty"`
	AddCapabilities        []string `json:"addCapabilities,omitempty"`  // without CAP_, sorted
	DropCapabilities       []string `json:"dropCapabilities,omitempty"` // or "ALL"
	// AllowPrivilegeEscalation: nil = false (no_new_privs is set), unlike
	// Kubernetes, whose default is true.
	AllowPrivilegeEscalation *bool `json:"allowPrivilegeEscalation,omitempty"`
	// SupplementalGroups are added to those that the user has; sorted, each once.
	SupplementalGroups []int64 `json:"supplementalGroups,omitempty"`
	// RunAsUserName is a user of the image, or of the node for the process
	// driver; "NAME:GROUP" with a group of his, "" = RunAsUser says.
	RunAsUserName string `json:"runAsUserName,omitempty"`
}

// Volume is storage of an instance; exactly one source is set.
type Volume struct {
	Name     string          `json:"name"`
	Local    *LocalVolume    `json:"local,omitempty"`
	EmptyDir *EmptyDirVolume `json:"emptyDir,omitempty"`
	HostPath *HostPathVolume `json:"hostPath,omitempty"`
	File     *FileVolume     `json:"file,omitempty"`
}

// LocalVolume is a directory on the node's disk that belongs to the slot: it
// survives restarts, updates and the removal of the service.
type LocalVolume struct{}

// EmptyDirVolume lives and dies with the instance.
type EmptyDirVolume struct {
	Medium    string `json:"medium,omitempty"`    // "" = disk, "Memory" = tmpfs
	SizeLimit int64  `json:"sizeLimit,omitempty"` // bytes; Memory only; 0 = half of the node's memory
}

// HostPathVolume is a path of the node; node policy must allow it.
type HostPathVolume struct {
	Path string `json:"path"`
}

// FileVolume is one file of the repository, read-only. Only its content
// counts: moving the file in the repository restarts nothing.
type FileVolume struct {
	SHA256 string `json:"sha256"`
}

// VolumeMount puts a volume into a container.
type VolumeMount struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
}
