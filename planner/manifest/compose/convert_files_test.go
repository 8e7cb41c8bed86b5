package compose

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/compose-spec/compose-go/v2/types"
)

// Links are not followed, wherever on the way they are: neither what they lead to
// is mounted, nor is it looked into for names.
func TestAttack45LinksAreNotFollowed(t *testing.T) {
	files := fstest.MapFS{
		"secret/canary": {Data: []byte("web:4711")},
		"shop/link":     {Data: []byte("../secret/canary"), Mode: fs.ModeSymlink | 0o777},
		"shop/dir":      {Data: []byte("../secret"), Mode: fs.ModeSymlink | 0o777},
		"shop/mixed/a":  {Data: []byte("a")},
		"shop/mixed/b":  {Data: []byte("../../secret/canary"), Mode: fs.ModeSymlink | 0o777},
	}
	for _, source := range []string{"link", "dir", "dir/canary", "mixed"} {
		service := types.ServiceConfig{Name: "web"}
		service.Image = "web:1"
		service.Volumes = []types.ServiceVolumeConfig{{Type: types.VolumeTypeBind, Source: source, Target: "/x", ReadOnly: true}}
		p := &Project{Name: "shop", Types: &types.Project{Services: types.Services{"web": service}}, Files: files, Folder: "shop"}
		documents, faults := Convert(p)
		if len(faults) != 1 || faults[0].Warning {
			t.Errorf("%s: faults are %v", source, faults)
		}
		if text := inYAML(documents[0].Root); strings.Contains(text, "canary") || strings.Contains(text, "4711") {
			t.Errorf("%s: what a link leads to was read:\n%s", source, text)
		}
	}
}

// A folder is looked into once, and only so far.
func TestLargeFoldersAreNotWalked(t *testing.T) {
	files := &countedFS{MapFS: fstest.MapFS{}}
	for i := range 5000 {
		files.MapFS["shop/many/"+strings.Repeat("x", i%50+1)+string(rune('a'+i%26))+string(rune('a'+i/26%26))+"/f"] = &fstest.MapFile{}
	}
	services := types.Services{}
	for _, name := range []string{"a", "b", "c"} {
		service := types.ServiceConfig{Name: name}
		service.Image = "web:1"
		service.Volumes = []types.ServiceVolumeConfig{{Type: types.VolumeTypeBind, Source: "many", Target: "/x"}}
		services[name] = service
	}
	_, faults := Convert(&Project{Name: "shop", Types: &types.Project{Services: services}, Files: files, Folder: "shop"})
	if len(faults) != 3 || files.folders > maxFolderFiles+2 {
		t.Errorf("%d folders were read, and faults are %v", files.folders, faults)
	}
}

// countedFS counts the folders that are read.
type countedFS struct {
	fstest.MapFS
	folders int
}

func (f *countedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.folders++
	return f.MapFS.ReadDir(name)
}
