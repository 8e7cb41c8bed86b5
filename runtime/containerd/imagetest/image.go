// Package imagetest makes images and registries without a network: images of a
// small program of ours (folder payload), and a registry on loopback that can
// ask for credentials, speak TLS, count what it is asked, and go away. Tests,
// benchmarks and the demo use it.
package imagetest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Program is where the payload lies in an image; it is the entrypoint.
const Program = "/payload"

// payloadPackage is the program that images run.
const payloadPackage = "github.com/orpheus-cd/orpheus/runtime/containerd/imagetest/payload"

// BuildPayload compiles the payload into dir, as a static file, and returns
// its path. The working folder must be in this module.
func BuildPayload(ctx context.Context, dir string) (string, error) {
	out := filepath.Join(dir, "payload")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, payloadPackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build payload: %w\n%s", err, text)
	}
	return out, nil
}

// Options of an image.
type Options struct {
	Binary     string            // file that becomes Program; "" = none
	Entrypoint []string          // nil = Program
	Cmd        []string          // its default arguments
	Env        []string          // NAME=value
	User       string            // as in USER; "app" and the group "staff" exist
	WorkingDir string            // "" = /
	StopSignal string            // "" = SIGTERM
	Files      map[string]string // further files by absolute path
	Pipes      []string          // named pipes by absolute path, in place of files
	Links      map[string]string // symbolic links by absolute path, with where they lead
	Arch       string            // "" = this machine's
	Expose     []string          // ports as in EXPOSE: 6379/tcp
	Padding    int               // bytes of a second layer that does not compress
}

// Build makes an image in memory. Equal options give an equal digest.
func Build(o Options) (v1.Image, error) {
	files := map[string]string{
		"/etc/passwd": "root:x:0:0:root:/:/\napp:x:1000:1000:app:/:/\n",
		"/etc/group":  "root:x:0:\napp:x:1000:\nstaff:x:2000:app\n",
	}
	maps.Copy(files, o.Files)
	for _, name := range o.Pipes {
		delete(files, name)
	}
	base, err := layer(o.Binary, files, o.Links, o.Pipes...)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	layers := []v1.Layer{base}
	if o.Padding > 0 {
		padding, err := layer("", map[string]string{"/padding": noise(o.Padding)}, nil)
		if err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
		layers = append(layers, padding)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), layers...)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", o.Arch
	if o.Arch == "" {
		config.Architecture = goruntime.GOARCH
	}
	config.Config = v1.Config{
		Entrypoint: o.Entrypoint, Cmd: o.Cmd, Env: o.Env,
		User: o.User, WorkingDir: o.WorkingDir, StopSignal: o.StopSignal,
	}
	for _, port := range o.Expose {
		if config.Config.ExposedPorts == nil {
			config.Config.ExposedPorts = map[string]struct{}{}
		}
		config.Config.ExposedPorts[port] = struct{}{}
	}
	if o.Entrypoint == nil {
		config.Config.Entrypoint = []string{Program}
	}
	return mutate.ConfigFile(img, config)
}

// layer holds the program, some files, links and pipes, each in the folders it
// needs.
func layer(binary string, files, links map[string]string, pipes ...string) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	folders := map[string]int64{"/tmp": 0o1777, "/data": 0o777}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(files)), slices.Collect(maps.Keys(links)), pipes) {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if _, ok := folders[dir]; !ok {
				folders[dir] = 0o755
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: folders[dir]}); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := addFile(w, name, 0o644, []byte(files[name])); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: strings.TrimPrefix(name, "/"), Linkname: links[name], Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	for _, name := range pipes {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeFifo, Name: strings.TrimPrefix(name, "/"), Mode: 0o644}); err != nil {
			return nil, err
		}
	}
	if binary != "" {
		data, err := os.ReadFile(binary)
		if err != nil {
			return nil, err
		}
		if err := addFile(w, Program, 0o755, data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

func addFile(w *tar.Writer, name string, mode int64, data []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// noise is text of n bytes that does not compress, the same every time.
func noise(n int) string {
	out := make([]byte, n)
	state := uint64(88172645463325252)
	for i := range out {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		out[i] = byte(state)
	}
	return string(out)
}
