package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// TestDiskFullOfOldImages fills a small disk of containerd's. Images in use and
// the last five revisions of a service survive, a new image finds room after
// the others have gone, and going back needs no registry. While nothing more can
// be removed the node takes no new work, and keeps what it has in order.
func TestDiskFullOfOldImages(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	disk := n.smallDisk(360 << 20)
	n.agent()
	tags := map[string]string{} // digest → tag
	image := func(tag string, padding int) string {
		digest := n.pushPadded(tag, padding)
		tags[digest] = tag
		return tag
	}
	web := func(k int) map[string]string {
		return map[string]string{"web.yaml": n.manifest(spec{name: "web", image: fmt.Sprintf("web:%d", k)})}
	}
	n.apply("what stays", map[string]string{
		"fleet.yaml": fleetYAML, "db.yaml": n.manifest(spec{name: "db", image: image("db:1", 1<<20)}),
	})
	for k := range 3 { // others, that come and go
		name := fmt.Sprintf("old%d", k)
		n.apply(name+" comes", map[string]string{name + ".yaml": n.manifest(spec{name: name, image: image(name+":1", 15<<20+k)})})
		n.apply(name+" goes", map[string]string{name + ".yaml": gitsynctest.Delete})
	}
	for k := 1; k <= 10; k++ {
		image(fmt.Sprintf("web:%d", k), 3<<20+k)
		n.apply(fmt.Sprintf("web %d", k), web(k))
	}
	db := map[string]life{"db/0": n.lives()["db/0"]}
	n.kill() // what ran here is remembered
	n.agent()

	before := n.imagesOf(tags)
	if want := 14; len(before) != want {
		t.Errorf("without pressure images were removed: %d of %d are left, %v", len(before), want, before)
	}
	n.fill(disk, 95)
	image("web:11", 20<<20)
	begin := time.Now()
	n.applyWithin(2*time.Minute, "web 11, for which there is no room", web(11))
	t.Logf("a commit whose image does not fit runs after %s; left are %v", time.Since(begin).Round(time.Millisecond), n.imagesOf(tags))
	n.untouched("the disk was full", db)
	left := n.imagesOf(tags)
	for _, needed := range []string{"db:1", "web:7", "web:8", "web:9", "web:10", "web:11"} {
		if !slices.Contains(left, needed) {
			t.Errorf("image %s is gone: %v", needed, left)
		}
	}
	if len(left) == len(before)+1 {
		t.Errorf("no image was removed: %v", left)
	}
	events, _ := n.orpheus("events", "--socket", n.Socket())
	contains(t, "events", events, "image removed", "node is short of disk", "node is not short of disk any more")

	n.Registry.Stop()
	n.apply("back to the oldest of five", web(7))
	n.untouched("web went back", db)
	if err := n.Registry.Restart(); err != nil {
		t.Fatal(err)
	}
	n.noRoomForMore(disk, db, image)
}

// noRoomForMore fills the disk again, with what is no image.
func (n *node) noRoomForMore(disk string, db map[string]life, image func(string, int) string) {
	n.t.Helper()
	n.fill(disk, 98)
	n.await("the shortage is told", func(st *api.Status) string {
		if len(st.Pressure) == 0 {
			return "it is not"
		}
		if !strings.Contains(strings.Join(st.Problems, "\n"), "no more images can be removed") {
			return fmt.Sprintf("the problem is not told: %q", st.Problems)
		}
		return ""
	})
	out, _ := n.orpheus("status", "--socket", n.Socket())
	first, _, _ := strings.Cut(out, "\n")
	contains(n.t, "the first line of status", first, "SHORT", "disk of this node is", "% full", disk, "free")
	contains(n.t, "orpheus status", out, "takes no new work", "images that are needed use", "volumes", "logs")
	contains(n.t, "metrics", n.get("/metrics"), `orpheus_node_pressure{resource="disk"} 1`, `orpheus_node_pressure{resource="memory"} 0`, "orpheus_images_removed_total")
	hash := n.commit("more than there is room for", map[string]string{
		"late.yaml": n.manifest(spec{name: "late", image: image("late:1", 1<<20)}),
		"db.yaml":   n.manifest(spec{name: "db", image: image("db:2", 1<<20+1)}),
		"web.yaml":  n.manifest(spec{name: "web", image: "web:9"}),
	})
	n.await("new work waits, and what needs no room goes on", func(st *api.Status) string {
		for _, name := range []string{"late", "db"} {
			if s := service(st, name); !strings.Contains(s.Message, "waits for room") || st.Repository.Applied.Hash != hash {
				return name + " says: " + s.Message
			}
		}
		if s := service(st, "web"); s.Updated != 1 || s.Ready != 1 || len(s.Instances) != 1 {
			return "web, whose image is here, says: " + s.Message
		}
		return ""
	})
	n.untouched("its update waits for room", db)
	pid := n.lives()["db/0"].PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	n.comesBack("db", "0", pid)
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		n.t.Fatal(err)
	}
	n.await("there is room again", devfleet.SettledAt(hash))
	if st := n.status(); len(st.Pressure) > 0 {
		n.t.Errorf("the shortage did not end: %+v", st.Pressure)
	}
}

// smallDisk puts what containerd keeps on a small file system of its own, and
// returns its folder.
func (n *node) smallDisk(size int64) string {
	n.t.Helper()
	file, root := filepath.Join(n.Dir, "disk.img"), filepath.Join(n.Dir, "c", "root")
	must := func(err error) {
		n.t.Helper()
		if err != nil {
			n.t.Fatal(err)
		}
	}
	must(n.Containerd.Kill())
	must(os.RemoveAll(root))
	must(os.MkdirAll(root, 0o700))
	must(os.WriteFile(file, nil, 0o600))
	must(os.Truncate(file, size))
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", file}, {"mount", "-o", "loop", file, root}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			n.t.Skipf("a small disk needs loop devices and ext4: %s: %v: %s", command[0], err, out)
		}
	}
	must(n.Containerd.Restart())
	return root
}

// fill takes room on a disk until so many percent of it are used.
func (n *node) fill(disk string, percent uint64) {
	n.t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(disk, &fs); err != nil {
		n.t.Fatal(err)
	}
	size := uint64(fs.Bsize)
	used := (fs.Blocks - fs.Bfree) * size
	want := (used+fs.Bavail*size)*percent/100 + 1<<20
	filler, err := os.OpenFile(filepath.Join(disk, "filler"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer filler.Close()
	info, err := filler.Stat()
	if err == nil && want > used {
		err = unix.Fallocate(int(filler.Fd()), 0, 0, info.Size()+int64(want-used))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// pushPadded puts an image of some size into the registry, which shares only
// its first layer with others.
func (n *node) pushPadded(nameTag string, padding int) (digest string) {
	n.t.Helper()
	img, err := imagetest.Build(imagetest.Options{Binary: n.Payload, Padding: padding, Env: []string{"VERSION=" + nameTag}})
	if err == nil {
		_, digest, err = n.Registry.Push(nameTag, img)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return digest
}

// imagesOf lists the tags of the images that containerd has, sorted.
func (n *node) imagesOf(tags map[string]string) []string {
	n.t.Helper()
	c, err := n.containerd()
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	all, err := c.ImageService().List(namespaces.WithNamespace(context.Background(), containerdNamespace))
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, i := range all {
		out = append(out, tags[i.Target.Digest.String()])
	}
	slices.Sort(out)
	return out
}

// applyWithin is apply for what takes longer than others.
func (n *node) applyWithin(patience time.Duration, message string, files map[string]string) {
	n.t.Helper()
	hash := n.commit(message, files)
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	if err := n.Await(ctx, devfleet.SettledAt(hash)); err != nil {
		n.t.Fatalf("%s: %v", message, err)
	}
}
