// Package volume is the node's storage for instances.
//
// Mount turns the volumes of a manifest into paths on the host:
//
//	local      StateDir/volumes/<namespace>/<service>/<slot>/<name>
//	emptyDir   StateDir/scratch/<instance>/<name>, a tmpfs where medium is Memory
//	file       StateDir/files/<sha256>, shared by all who want that content
//	hostPath   where the manifest says, symbolic links resolved
//
// Local volumes are made once and never removed: nothing in this package can
// delete below StateDir/volumes. Scratch goes with its instance, by a removal
// that follows neither links nor mounts; files go when no instance's scratch
// folder notes them any more. What is inside a volume was written by strangers
// and is never opened.
//
// It needs no privileges, except that memory volumes are plain folders without
// them. Whether a manifest may use a host path is not decided here.
package volume
