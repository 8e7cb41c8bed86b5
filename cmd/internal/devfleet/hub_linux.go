package devfleet

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// Hub is what the nodes of a fleet share. It runs in this program and in its
// namespaces.
type Hub struct {
	Git      *gitsynctest.Server
	Repo     *gitsynctest.Repo
	Registry *imagetest.Registry // nil where nobody runs containers
	Payload  string              // path of the program that PushImage puts into images; "" = none

	dir       string
	git       gitsynctest.Options
	localPath bool
}

type hubOptions struct {
	localPath bool
	git       gitsynctest.Options
	registry  *imagetest.RegistryOptions // nil = none
	payload   string                     // is copied: this fleet alone runs it; "" = none
}

// openHub starts the servers, with what they keep in dir. What it made before
// an error is for close to take away.
func openHub(dir string, opts hubOptions) (h *Hub, err error) {
	h = &Hub{dir: dir, git: opts.git, localPath: opts.localPath}
	root := filepath.Join(dir, "git")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return h, err
	}
	h.git.Root, h.git.Push = root, true
	if h.Git, err = gitsynctest.Start(h.git); err != nil {
		return h, err
	}
	if h.git.TLS {
		if err := h.Git.WriteCA(h.caFile()); err != nil {
			return h, err
		}
	}
	if h.Repo, err = h.Git.NewRepo("fleet.git"); err != nil {
		return h, err
	}
	if opts.payload != "" {
		if err := h.copyPayload(opts.payload); err != nil {
			return h, err
		}
	}
	if opts.registry != nil {
		if opts.registry.Dir != "" {
			if err := os.MkdirAll(opts.registry.Dir, 0o755); err != nil {
				return h, err
			}
		}
		h.Registry, err = imagetest.StartRegistry(*opts.registry)
	}
	return h, err
}

func (h *Hub) close() {
	if h.Registry != nil {
		h.Registry.Stop()
	}
	if h.Git != nil {
		h.Git.Close()
	}
}

func (h *Hub) bin() string { return filepath.Join(h.dir, "bin") }

func (h *Hub) copyPayload(from string) error {
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.bin(), 0o755); err != nil {
		return err
	}
	h.Payload = filepath.Join(h.bin(), "payload")
	return os.WriteFile(h.Payload, program, 0o755)
}

// caFile holds the certificate of a Git server that speaks TLS.
func (h *Hub) caFile() string { return filepath.Join(h.dir, "git-ca.pem") }

// RepoURL is where users clone from and push to.
func (h *Hub) RepoURL() string { return h.Git.RepoURL(h.Repo) }

// gitPort is where the Git server listens.
func (h *Hub) gitPort() (int, error) {
	address, err := url.Parse(h.Git.URL)
	if err != nil {
		return 0, fmt.Errorf("port of the git server: %w", err)
	}
	return strconv.Atoi(address.Port())
}

// PushImage puts a build of the payload that calls itself version behind
// name:tag. It exposes ports, written as in EXPOSE.
func (h *Hub) PushImage(nameTag, version string, expose ...string) (ref, digest string, err error) {
	img, err := imagetest.Build(imagetest.Options{Binary: h.Payload, Env: []string{"VERSION=" + version}, Expose: expose})
	if err != nil {
		return "", "", err
	}
	return h.Registry.Push(nameTag, img)
}

// StopGit ends the Git server: connections break, and nobody listens at its
// address. StartGit brings it back there.
func (h *Hub) StopGit() { h.Git.Stop() }

// StartGit serves again what StopGit left.
func (h *Hub) StartGit() error { return h.Git.Restart() }

// BackupGit copies the fleet's repository into a folder that does not exist.
// Agents may be writing to it: git itself makes the copy, of one moment.
func (h *Hub) BackupGit(dir string) error {
	if _, err := h.Repo.Git("", "clone", "-q", "--mirror", "--no-local", ".", dir); err != nil {
		return fmt.Errorf("back up the repository: %w", err)
	}
	config, err := os.ReadFile(filepath.Join(h.Repo.Dir, "config")) // not that of a mirror
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config"), config, 0o644)
	}
	if err != nil {
		return fmt.Errorf("back up the repository: %w", err)
	}
	return nil
}

// RestoreGit makes the fleet's repository what it was when BackupGit wrote dir,
// in one moment, as an operator would who restores a server.
func (h *Hub) RestoreGit(dir string) error {
	restored, former := h.Repo.Dir+".restored", h.Repo.Dir+".former"
	if err := os.CopyFS(restored, os.DirFS(dir)); err != nil {
		return errors.Join(fmt.Errorf("restore the repository: %w", err), os.RemoveAll(restored))
	}
	if err := os.Rename(h.Repo.Dir, former); err != nil {
		return fmt.Errorf("restore the repository: %w", err)
	}
	if err := os.Rename(restored, h.Repo.Dir); err != nil {
		return fmt.Errorf("restore the repository: %w", err)
	}
	return os.RemoveAll(former)
}
