//go:build linux

package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// The labels of a container. Together they are all the agent ever knows of an
// instance again, so every container of it carries the whole.
const (
	labelInstance   = "orpheus/instance"
	labelNamespace  = "orpheus/namespace"
	labelService    = "orpheus/service"
	labelSlot       = "orpheus/slot"
	labelNode       = "orpheus/node"
	labelEpoch      = "orpheus/epoch"
	labelToken      = "orpheus/token"
	labelRevision   = "orpheus/revision"
	labelGrace      = "orpheus/grace"
	labelBoot       = "orpheus/boot" // the boot in which it was started
	labelContainer  = "orpheus/container"
	labelIndex      = "orpheus/index"
	labelCount      = "orpheus/count" // of containers, init containers apart
	labelInit       = "orpheus/init"  // "true" on init containers
	labelImage      = "orpheus/image"
	labelDigest     = "orpheus/digest"
	labelStopSignal = "orpheus/stop-signal"
	// labelExposed are the ports that the image exposes, so that they are known
	// for as long as the container is, whatever becomes of the image: "53/udp
	// 6379/tcp". Without it, by an agent before there was one, they are read from
	// the image.
	labelExposed = "orpheus/exposed"

	labelPull = "orpheus/pull" // on leases
	// labelPulled is on images that we have fetched: those that are there by
	// other ways are not ours to remove.
	labelPulled = "orpheus/pulled"
	labelView   = "orpheus/view" // on snapshots that only serve a look into an image
)

// maxLabel is containerd's limit for a label's key and value together.
const maxLabel = 4096

// record is a container as its labels describe it.
type record struct {
	ID         string // of the container
	Instance   planner.Instance
	Container  string
	Index      int
	Count      int
	Init       bool
	Image      string
	Digest     string
	StopSignal string
	Boot       string
	Exposed    []planner.ImagePort
	unlabelled bool      // Exposed is not known
	started    time.Time // not a label: when containerd made the record
}

// labels is the inverse of parseLabels.
func (r record) labels() map[string]string {
	in := r.Instance
	l := map[string]string{
		labelInstance:   in.ID,
		labelNamespace:  in.Slot.Service.Namespace,
		labelService:    in.Slot.Service.Name,
		labelSlot:       in.Slot.Name,
		labelNode:       string(in.Node),
		labelEpoch:      strconv.FormatUint(in.Epoch, 10),
		labelToken:      strconv.FormatUint(in.Token, 10),
		labelRevision:   string(in.Revision),
		labelGrace:      in.GracePeriod.String(),
		labelBoot:       r.Boot,
		labelContainer:  r.Container,
		labelIndex:      strconv.Itoa(r.Index),
		labelCount:      strconv.Itoa(r.Count),
		labelImage:      r.Image,
		labelDigest:     r.Digest,
		labelStopSignal: r.StopSignal,
	}
	if r.Init {
		l[labelInit] = "true"
	} else {
		l[labelExposed] = exposedText(r.Exposed)
	}
	return l
}

// parseLabels reads a record. Numbers that are none read as zero: a label
// somebody has tampered with must not hide the container.
func parseLabels(id string, l map[string]string) record {
	number := func(key string) uint64 { n, _ := strconv.ParseUint(l[key], 10, 64); return n }
	grace, _ := time.ParseDuration(l[labelGrace])
	exposed, labelled := l[labelExposed]
	return record{
		ID: id,
		Instance: planner.Instance{
			ID:          l[labelInstance],
			Driver:      planner.DriverContainerd,
			Slot:        planner.SlotID{Service: planner.ServiceID{Namespace: l[labelNamespace], Name: l[labelService]}, Name: l[labelSlot]},
			Node:        planner.NodeName(l[labelNode]),
			Epoch:       number(labelEpoch),
			Token:       number(labelToken),
			Revision:    planner.Revision(l[labelRevision]),
			GracePeriod: grace,
		},
		Container:  l[labelContainer],
		Index:      int(number(labelIndex)),
		Count:      int(number(labelCount)),
		Init:       l[labelInit] == "true",
		Image:      l[labelImage],
		Digest:     l[labelDigest],
		StopSignal: l[labelStopSignal],
		Boot:       l[labelBoot],
		Exposed:    planner.ParseImagePorts(strings.Fields(exposed)),
		unlabelled: !labelled && l[labelInit] != "true",
	}
}

// exposedText is how labels have ports that an image exposes.
func exposedText(ports []planner.ImagePort) string {
	all := make([]string, len(ports))
	for i, p := range ports {
		all[i] = strconv.Itoa(p.Port) + "/" + p.Protocol
	}
	return strings.Join(all, " ")
}

// newRecord describes container index of w, counted over AllContainers.
func (d *Driver) newRecord(w runtime.Workload, index int, img image) record {
	c := w.AllContainers()[index]
	r := record{
		ID: containerID(w.ID, index),
		Instance: planner.Instance{
			ID: w.ID, Slot: w.Slot, Node: w.Node, Epoch: w.Epoch, Token: w.Token,
			Revision: w.Revision, GracePeriod: w.Grace,
		},
		Container:  c.Name,
		Index:      index,
		Count:      len(w.Containers),
		Init:       index < len(w.Init),
		Image:      c.Image,
		Digest:     img.digest.String(),
		StopSignal: stopSignalOf(c, img),
		Boot:       d.bootID,
	}
	if !r.Init {
		r.Exposed = img.exposed()
	}
	return r
}

var (
	idPattern       = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$`) // containerd's
	instancePattern = regexp.MustCompile(`^[a-z0-9.-]{1,63}$`)                   // ours
)

func validID(id string) bool { return len(id) <= 76 && idPattern.MatchString(id) }

// containerPrefix begins the ids of all containers of an instance, and of
// none other: an instance id that containerd would not take is hashed, with a
// sign in front that no instance id can hold.
func containerPrefix(instance string) string {
	if len(instance) <= 63 && idPattern.MatchString(instance) {
		return instance + "."
	}
	sum := sha256.Sum256([]byte(instance))
	return "h_" + hex.EncodeToString(sum[:28]) + "."
}

// containerID names a container, its snapshot and its process.
func containerID(instance string, index int) string {
	return containerPrefix(instance) + strconv.Itoa(index)
}

// prefixOf undoes containerID: the prefix of the instance a container id
// belongs to; false if the id is none of ours.
func prefixOf(containerID string) (string, bool) {
	dot := strings.LastIndexByte(containerID, '.')
	if dot <= 0 {
		return "", false
	}
	if _, err := strconv.ParseUint(containerID[dot+1:], 10, 16); err != nil {
		return "", false
	}
	return containerID[:dot+1], true
}

// cgroupPath is the cgroup of a container, below its instance's.
func (d *Driver) cgroupPath(containerID string) string {
	prefix, _ := prefixOf(containerID)
	return path.Join(d.cfg.cgroup(), strings.TrimSuffix(prefix, "."), containerID[len(prefix):])
}

// cgroupOfInstance holds the cgroups of an instance's containers.
func (d *Driver) cgroupOfInstance(id string) string {
	return path.Join(d.cfg.cgroup(), strings.TrimSuffix(containerPrefix(id), "."))
}

// checkLabels refuses what containerd would not store.
func checkLabels(l map[string]string) error {
	for k, v := range l {
		if len(k)+len(v) > maxLabel {
			return fmt.Errorf("%s is %d bytes, at most %d fit a label: %w", k, len(v), maxLabel-len(k), runtime.ErrInvalid)
		}
	}
	return nil
}
