package manifest

import (
	"github.com/orpheus-cd/orpheus/planner"
)

// volume is a volume as written; the sum of a file comes at assembly.
type volume struct {
	planner.Volume
	file string
}

var volumeSchema = newSchema(
	text("name", dnsLabel(63), func(v *volume) *string { return &v.Name }).must(),
	pointer("local", newSchema[planner.LocalVolume](), func(v *volume) **planner.LocalVolume { return &v.Local }),
	pointer("emptyDir", emptyDirSchema, func(v *volume) **planner.EmptyDirVolume { return &v.EmptyDir }),
	pointer("hostPath", hostPathSchema, func(v *volume) **planner.HostPathVolume { return &v.HostPath }),
	text("file", repositoryPath, func(v *volume) *string { return &v.file }),
).exactlyOne("local", "emptyDir", "hostPath", "file").foreign(
	"configMap", "use file: PATH with a file of the repository",
	"secret", "secrets are not supported by this version",
	"persistentVolumeClaim", "write local: {}",
).like("{name: data, local: {}}; volumeMounts says where it is seen")

var emptyDirSchema = newSchema(
	text("medium", oneOf("", "Memory"), func(e *planner.EmptyDirVolume) *string { return &e.Medium }),
	special("sizeLimit", quantityShape(maxMemoryBytes, "128Mi"), func(d *decoder, v value, into *planner.EmptyDirVolume) {
		if n, ok := d.bytes(v); ok {
			into.SizeLimit = n
		}
	}),
)

var hostPathSchema = newSchema(
	text("path", absolutePath, func(h *planner.HostPathVolume) *string { return &h.Path }).must(),
).foreign("type", "remove it: the path must exist")

// sources counts how many kinds of storage the volume names.
func (v volume) sources(d *decoder, at string) int {
	n := 0
	for _, name := range volumeSchema.one {
		if d.has(at + "." + name) {
			n++
		}
	}
	return n
}
