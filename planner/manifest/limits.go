package manifest

import "time"

// Limits bound what a commit may cost. The zero value of a field means its
// default.
type Limits struct {
	FileBytes      int64 // of one manifest; 64 KiB
	TotalBytes     int64 // of all manifests that are parsed in one load; 64 MiB
	Documents      int   // in one file; 100
	Nesting        int   // of YAML values; 32
	Files          int   // manifests in the tree; 50,000
	Entries        int   // files and folders in the tree; 1,000,000
	Depth          int   // of folders below the fleet's; 32
	FaultsPerFile  int   // listed, the rest is only counted; 100
	FileVolume     int64 // bytes of one file volume; 1 MiB
	AllFileVolumes int64 // bytes of all different file volumes of a commit; 64 MiB
}

// withDefaults fills in what is not set.
func (l Limits) withDefaults() Limits {
	setDefault(&l.FileBytes, 64<<10)
	setDefault(&l.TotalBytes, 64<<20)
	setDefault(&l.Documents, 100)
	setDefault(&l.Nesting, 32)
	setDefault(&l.Files, 50_000)
	setDefault(&l.Entries, 1_000_000)
	setDefault(&l.Depth, 32)
	setDefault(&l.FaultsPerFile, 100)
	setDefault(&l.FileVolume, 1<<20)
	setDefault(&l.AllFileVolumes, 64<<20)
	return l
}

func setDefault[N int | int64](n *N, value N) {
	if *n <= 0 {
		*n = value
	}
}

// Bounds of single fields. docs/manifest.md lists them: change both.
const (
	maxReplicas    = 1000
	maxGrace       = 3600 // seconds
	maxContainers  = 32   // and as many init containers
	maxEnv         = 1024
	maxPorts       = 64
	maxPublished   = 16 // of one port
	maxVolumes     = 64
	maxDevices     = 64
	maxArguments   = 1024
	maxLabels      = 64
	maxNodes       = 1000
	maxIgnore      = 100
	maxTaints      = 64
	maxTolerations = 64
	maxSpread      = 16
	maxSkew        = 1000
	maxOwnLabels   = 256
	maxBudget      = 100_000
	minPushes      = 2 // half of them are kept for leases
	maxURLBytes    = 2048
	maxPrefixBytes = 128
	maxHostname    = 63
	maxAliases     = 16
	maxServiceName = 58 // a slot's host name is "name-999" and must be a DNS label
	maxTextBytes   = 32 << 10
	maxComposed    = 256 << 10 // bytes of a document that was put together, without its form
	maxLayers      = 16        // folders a fleet is put together from
	maxBaseDepth   = 8         // of bases of bases
	maxVariables   = 256
	minVariable    = -1 << 53 // numbers that JSON readers agree on
	maxVariable    = 1 << 53
	maxPathBytes   = 1024
	maxSysctlBytes = 256
	maxPathDepth   = 32
	maxImageBytes  = 512
	maxCPUMillis   = 4096 * 1000
	minMemoryBytes = 1 << 20
	maxMemoryBytes = 1 << 50
	maxPIDs        = 4 << 20
	maxUser        = 1<<32 - 2
	maxGroups      = 64
	maxHostAliases = 64 // and as many names of each
	maxSysctls     = 64
	maxUlimits     = 64
	maxUlimit      = 1 << 53 // numbers that JSON readers agree on
	maxSteps       = 20
	maxDepends     = 64
	maxFailures    = 1000
	maxSeconds     = 24 * 3600 // of what a rollout waits for

	maxSurgePercent = 1000
	maxAccountBytes = 64

	minPause        = time.Second
	maxPause        = 7 * 24 * time.Hour
	minPollInterval = time.Second
	maxPollInterval = time.Hour

	// What C libraries take: three servers, and six domains, of which two are the
	// fleet's.
	maxNameServers   = 3
	maxSearchDomains = 4
	maxNameOptions   = 16
)
