package gitsync

import (
	"io/fs"

	"github.com/go-git/go-git/v5/plumbing"
)

// objects is where a snapshot reads.
type objects interface {
	size(id plumbing.Hash) (int64, error)
	// content reads an object that must be of the kind.
	content(kind plumbing.ObjectType, id plumbing.Hash, limit int64) ([]byte, error)
}

func newSnapshot(from objects, limits Limits) *snapshot {
	return &snapshot{objects: from, limits: limits, folders: map[plumbing.Hash][]treeEntry{}}
}

// cloneObjects are those of the clone.
type cloneObjects struct{ repo *Repository }

func (o cloneObjects) size(id plumbing.Hash) (size int64, err error) {
	err = o.repo.reading(func(st *store) error {
		size, err = st.size(id)
		return err
	})
	return size, err
}

func (o cloneObjects) content(kind plumbing.ObjectType, id plumbing.Hash, limit int64) (data []byte, err error) {
	err = o.repo.reading(func(st *store) error {
		data, err = st.content(kind, id, limit)
		return err
	})
	return data, err
}

// Objects reads a repository that is no clone of ours, as a person's checkout.
type Objects interface {
	// Object returns the content of an object of a kind, "tree" or "blob", that
	// has at most limit bytes.
	Object(kind, id string, limit int64) ([]byte, error)
	// Size is how many bytes an object has.
	Size(id string) (int64, error)
}

// TreeFS shows a tree of any repository as Repository.FS shows that of a commit:
// what agents would refuse is refused, within the same limits.
func TreeFS(from Objects, tree string, limits Limits) (fs.FS, error) {
	id, err := parseID(tree)
	if err != nil {
		return nil, err
	}
	snap := newSnapshot(otherObjects{from}, limits.withDefaults())
	snap.root = treeEntry{name: ".", mode: fs.ModeDir | 0o755, id: id}
	return snap, nil
}

type otherObjects struct{ from Objects }

func (o otherObjects) size(id plumbing.Hash) (int64, error) { return o.from.Size(id.String()) }

func (o otherObjects) content(kind plumbing.ObjectType, id plumbing.Hash, limit int64) ([]byte, error) {
	return o.from.Object(kind.String(), id.String(), limit)
}
