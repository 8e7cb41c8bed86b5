//go:build linux

package containerd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// newRegistry runs a registry for one test with one image in it.
func newRegistry(t *testing.T, o imagetest.RegistryOptions, image imagetest.Options) (r *imagetest.Registry, ref, digest string) {
	t.Helper()
	r, err := imagetest.StartRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	ref, digest = push(t, r, "app:1", image)
	return r, ref, digest
}

func push(t *testing.T, r *imagetest.Registry, tag string, o imagetest.Options) (ref, digest string) {
	t.Helper()
	img, err := imagetest.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	ref, digest, err = r.Push(tag, img)
	if err != nil {
		t.Fatal(err)
	}
	return ref, digest
}

// of is a workload that runs the image.
func of(ref, digest string) runtime.Workload {
	return runtime.Workload{ID: "pull", Containers: []runtime.Container{{Name: "main", Image: ref, Digest: digest}}}
}

// credentialsFor are those of one host.
func credentialsFor(host string, l Login) func(context.Context, string) (Login, error) {
	return func(_ context.Context, asking string) (Login, error) {
		if asking != host {
			return Login{}, nil
		}
		return l, nil
	}
}

func TestPullKeepsTheDigest(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	r, ref, first := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Env: []string{"V=1"}})

	got, err := d.Prepare(t.Context(), of(ref, ""), nil)
	if err != nil || got[ref] != first {
		t.Fatalf("pull by tag: %v, %v; want %s", got, err, first)
	}
	_, second := push(t, r, "app:1", imagetest.Options{Binary: b.payload, Env: []string{"V=2"}})
	if first == second {
		t.Fatal("the two images are one")
	}

	// The pinned digest is there: the registry is not asked, and may be down.
	asked := len(r.Asked(""))
	got, err = d.Prepare(t.Context(), of(ref, first), nil)
	if err != nil || got[ref] != first {
		t.Fatalf("pull by digest: %v, %v; want %s", got, err, first)
	}
	if now := len(r.Asked("")); now != asked {
		t.Errorf("the registry was asked %q for an image that is there", r.Asked("")[asked:])
	}
	// The tag says something else by now.
	if got, err = d.Prepare(t.Context(), of(ref, ""), nil); err != nil || got[ref] != second {
		t.Fatalf("pull by tag after a push: %v, %v; want %s", got, err, second)
	}
	// What a digest alone names is pulled without the tag.
	other := b.driver(t)
	if got, err = other.Prepare(t.Context(), of(strings.TrimSuffix(ref, ":1")+"@"+second, ""), nil); err != nil {
		t.Fatalf("pull by reference with digest: %v, %v", got, err)
	}
}

func TestPullOncePerImage(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	r, ref, digest := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Padding: 8 << 20, Files: map[string]string{"/once": t.Name()}})

	var wg sync.WaitGroup
	var mu sync.Mutex
	var last runtime.Progress
	for i := range 10 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i == 0 {
				cancel() // whoever began it leaves: the others get their image
			}
			got, err := d.Prepare(ctx, of(ref, ""), func(p runtime.Progress) {
				mu.Lock()
				defer mu.Unlock()
				last = p
			})
			if i > 0 && (err != nil || got[ref] != digest) {
				t.Errorf("pull %d: %v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if blobs := r.Asked("GET /v2/app/blobs"); len(blobs) != 3 {
		t.Errorf("blobs were fetched %d times: %q; want configuration and two layers once each", len(blobs), blobs)
	}
	mu.Lock()
	defer mu.Unlock()
	if last.Total < 8<<20 || last.Done != last.Total || last.Image != ref {
		t.Errorf("the last progress is %+v; want all of more than 8 MiB", last)
	}
}

// An image has many names. Pulls of it by several at once must not take the
// lease away from one another.
func TestPullOnceUnderSeveralNames(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	for round := range 5 {
		image := imagetest.Options{Binary: b.payload, Files: map[string]string{"/names": fmt.Sprint(t.Name(), round)}}
		r, first, digest := newRegistry(t, imagetest.RegistryOptions{}, image)
		second, _ := push(t, r, "app:stable", image)
		var wg sync.WaitGroup
		for _, name := range []string{first, second, strings.TrimSuffix(first, ":1") + "@" + digest} {
			wg.Go(func() {
				if got, err := d.Prepare(t.Context(), of(name, ""), nil); err != nil || got[name] != digest {
					t.Errorf("pull %s: %v, %v", name, got, err)
				}
			})
		}
		wg.Wait()
		if manifests := r.Asked("GET /v2/app/manifests"); len(manifests) != 1 {
			t.Errorf("the manifest was fetched %d times: %q", len(manifests), manifests)
		}
	}
}

// Nobody waits any more: the pull ends, and leaves nothing but can go on.
func TestPullCalledOff(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	r, ref, _ := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Env: []string{fmt.Sprint("OFF=", serial.Add(1))}})
	began, stay := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.Intercept(func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			once.Do(func() { close(began) })
			select {
			case <-stay:
			case <-req.Context().Done():
			}
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := d.Prepare(ctx, of(ref, ""), nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("Prepare: %v; want the context's error", err)
	}
	close(stay)
	if _, err := d.Prepare(t.Context(), of(ref, ""), nil); err != nil {
		t.Fatalf("Prepare again: %v", err)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestPullErrors(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	plain, ref, _ := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Env: []string{"E=1"}})
	basic, basicRef, _ := newRegistry(t, imagetest.RegistryOptions{User: "u", Secret: "s3cret-word"}, imagetest.Options{Env: []string{"E=2"}})
	bearer, bearerRef, _ := newRegistry(t, imagetest.RegistryOptions{User: "u", Secret: "s3cret-word", Bearer: true}, imagetest.Options{Env: []string{"E=3"}})
	secure, secureRef, _ := newRegistry(t, imagetest.RegistryOptions{TLS: true, User: "u", Secret: "s3cret-word", Bearer: true}, imagetest.Options{Env: []string{"E=4"}})
	foreign, _ := push(t, plain, "foreign:1", imagetest.Options{Arch: "s390x"})
	index := foreignIndex(t, plain)
	wide, _ := push(t, plain, "wide:1", imagetest.Options{Env: []string{"WIDE=" + strings.Repeat("x", 1<<20)}})
	big, _ := push(t, plain, "big:1", imagetest.Options{Padding: 3 << 20})
	down, downRef, _ := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{})
	down.Stop()

	with := func(r *imagetest.Registry, reg Registry) func(*Config) {
		return func(c *Config) { c.Registries = map[string]Registry{r.Host: reg} }
	}
	shown := func(r *imagetest.Registry, word string, reg Registry) func(*Config) {
		return func(c *Config) {
			with(r, reg)(c)
			c.Credentials = credentialsFor(r.Host, Login{User: "u", Secret: word, From: "a drawer"})
		}
	}
	nothing := func(*Config) {}
	for _, c := range []struct {
		name   string
		ref    string
		config func(*Config)
		want   error  // nil = it works
		text   string // must be in the error
	}{
		// Credentials of both kinds, right, wrong and none.
		{"basic", basicRef, shown(basic, "s3cret-word", Registry{}), nil, ""},
		{"basic, wrong", basicRef, shown(basic, "wr0ng-word", Registry{}), runtime.ErrUnauthorized, "registry " + basic.Host + " answers 401 Unauthorized: it refuses the credentials from a drawer"},
		{"basic, none", basicRef, nothing, runtime.ErrUnauthorized, "wants credentials: none are configured for it (registries." + basic.Host},
		{"bearer", bearerRef, shown(bearer, "s3cret-word", Registry{}), nil, ""},
		{"bearer, wrong", bearerRef, shown(bearer, "wr0ng-word", Registry{}), runtime.ErrUnauthorized, "registry " + bearer.Host + " answers 401 Unauthorized: it refuses the credentials from a drawer"},
		{"bearer, none", bearerRef, nothing, runtime.ErrUnauthorized, "wants credentials: none are configured for it (registries." + bearer.Host},
		// TLS with its own authority; without it the certificate is refused;
		// plain HTTP to a TLS port is no way around.
		{"tls", secureRef, shown(secure, "s3cret-word", Registry{Roots: func() (*x509.CertPool, error) { return secure.CA, nil }}), nil, ""},
		{"tls, roots gone", secureRef, shown(secure, "s3cret-word", Registry{Roots: func() (*x509.CertPool, error) { return nil, fs.ErrNotExist }}),
			runtime.ErrUnavailable, "registry " + secure.Host + " is not asked, whom to trust there cannot be read: file does not exist"},
		{"tls, plain", secureRef, nothing, runtime.ErrInvalid, ""},
		// What is not there, for whatever reason.
		{"no such tag", plain.Host + "/app:2", nothing, runtime.ErrNotFound, plain.Host + "/app:2"},
		{"no such digest", plain.Host + "/app@sha256:" + strings.Repeat("0", 64), nothing, runtime.ErrNotFound, plain.Host},
		{"registry down", downRef, nothing, runtime.ErrUnavailable, "registry " + down.Host + " does not answer"},
		{"containerd down", ref, func(c *Config) { c.Address = "/nonexistent/containerd.sock" }, runtime.ErrUnavailable, "containerd at /nonexistent/containerd.sock does not answer"},
		// What can never work.
		{"no reference", "UPPER//case", nothing, runtime.ErrInvalid, "UPPER"},
		{"other machine", foreign, nothing, runtime.ErrInvalid, "has no linux/"},
		{"index of other machines", index, nothing, runtime.ErrInvalid, "has no linux/"},
		{"too big a configuration", wide, nothing, runtime.ErrInvalid, "configuration of the image is larger"},
		{"too big", big, func(c *Config) { c.MaxImageBytes = 2 << 20 }, runtime.ErrInvalid, "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := b.driver(t, c.config).Prepare(t.Context(), of(c.ref, ""), nil)
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("error is %v; want %v with %q", err, c.want, c.text)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "wr0ng")) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	if err := b.driver(t).Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// foreignIndex pushes an index that holds an image for another machine only.
func foreignIndex(t *testing.T, r *imagetest.Registry) string {
	t.Helper()
	img, err := imagetest.Build(imagetest.Options{Arch: "s390x"})
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}},
	})
	ref, _, err := r.PushIndex("index:1", index)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// A registry that sends us elsewhere for a blob does not send our credentials
// along, and the address it names, which may be a secret, is not repeated.
func TestAttack04RedirectKeepsCredentials(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	var mu sync.Mutex
	var given []string
	thief, _, _ := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{})
	thief.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		given = append(given, req.Header.Get("Authorization"))
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	r, ref, _ := newRegistry(t, imagetest.RegistryOptions{User: "u", Secret: "s3cret-word"}, imagetest.Options{Env: []string{"R=1"}})
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, "/blobs/") {
			return false
		}
		http.Redirect(w, req, "http://"+thief.Host+req.URL.Path+"?signature=s1gned", http.StatusTemporaryRedirect)
		return true
	})
	d := b.driver(t, func(c *Config) {
		c.Credentials = credentialsFor(r.Host, Login{User: "u", Secret: "s3cret-word"})
	})
	_, err := d.Prepare(t.Context(), of(ref, ""), nil)
	if !errors.Is(err, runtime.ErrUnauthorized) || strings.Contains(err.Error(), "s1gned") {
		t.Errorf("error is %v; want ErrUnauthorized without the signature", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(given) == 0 || slices.ContainsFunc(given, func(a string) bool { return a != "" }) {
		t.Errorf("the other host was given %q", given)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// A blob that goes on beyond what its descriptor announces is cut off.
func TestAttack01EndlessBlob(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	r, ref, _ := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Padding: 1 << 20})
	sent := make(chan int, 16)
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/blobs/") {
			return false
		}
		n, chunk := 0, make([]byte, 64<<10)
		for n < 1<<30 {
			written, err := w.Write(chunk)
			if n += written; err != nil {
				break
			}
		}
		sent <- n
		return true
	})
	d := b.driver(t)
	if _, err := d.Prepare(t.Context(), of(ref, ""), nil); err == nil {
		t.Fatal("an endless blob was taken for an image")
	}
	if n := <-sent; n > 64<<20 {
		t.Errorf("%d MiB were taken of a blob that was to be 1 MiB", n>>20)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}
