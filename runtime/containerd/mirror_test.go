//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

func TestParseMirror(t *testing.T) {
	for text, want := range map[string]Mirror{
		"mirror.example.com":                  {Host: "mirror.example.com", Path: "/v2"},
		"mirror.example.com:5000":             {Host: "mirror.example.com:5000", Path: "/v2"},
		"mirror.example.com/hub":              {Host: "mirror.example.com", Path: "/hub/v2"},
		"[2001:db8::1]:5000":                  {Host: "[2001:db8::1]:5000", Path: "/v2"},
		"http://mirror.example.com/":          {Scheme: "http", Host: "mirror.example.com", Path: "/v2"},
		"https://mirror.example.com/v2/":      {Scheme: "https", Host: "mirror.example.com", Path: "/v2"},
		"https://mirror.example.com/v2/hub":   {Scheme: "https", Host: "mirror.example.com", Path: "/v2/hub"},
		"https://mirror.example.com/a/../hub": {Scheme: "https", Host: "mirror.example.com", Path: "/hub/v2"},
	} {
		if got, err := ParseMirror(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "https://", "ftp://mirror.example.com", "https://u:s3cret@mirror.example.com", "https://mirror.example.com?ns=x",
		"https://mirror.example.com/#a", "https://mirror.example.com/%zz", "https://u:s3cret@mirror.example.com/%zz",
	} {
		if got, err := ParseMirror(text); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %+v, %v; want an error without secrets", text, got, err)
		}
	}
}

// pair is a registry and a mirror of it that hold the same image.
func pair(t *testing.T, mirrorOptions imagetest.RegistryOptions, image imagetest.Options) (origin, mirror *imagetest.Registry, ref, digest string) {
	t.Helper()
	image.Files = map[string]string{"/pair": t.Name()} // an image of its own
	origin, ref, digest = newRegistry(t, imagetest.RegistryOptions{}, image)
	mirror, _, same := newRegistry(t, mirrorOptions, image)
	if same != digest {
		t.Fatal("the mirror holds another image")
	}
	return origin, mirror, ref, digest
}

// mirrored is a configuration in which origin has mirrors.
func mirrored(t *testing.T, origin *imagetest.Registry, mirrors ...string) func(*Config) {
	t.Helper()
	var list []Mirror
	for _, text := range mirrors {
		m, err := ParseMirror(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return func(c *Config) { c.Registries = map[string]Registry{origin.Host: {Mirrors: list}} }
}

// A mirror that has an image is all that is asked, below its own path, and told
// whose image it is.
func TestMirrorServes(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	origin, mirror, ref, digest := pair(t, imagetest.RegistryOptions{}, imagetest.Options{Padding: 1 << 20})
	var mu sync.Mutex
	of1 := map[string]bool{}
	mirror.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		of1[req.URL.Query().Get("ns")] = true
		path, below := strings.CutPrefix(req.URL.Path, "/v2/hub/")
		if !below {
			w.WriteHeader(http.StatusNotFound)
		}
		req.URL.Path = "/v2/" + path
		return !below
	})
	d := b.driver(t, mirrored(t, origin, mirror.Host+"/v2/hub"))
	var last runtime.Progress
	got, err := d.Prepare(t.Context(), of(ref, ""), func(p runtime.Progress) { last = p })
	if err != nil || got[ref] != digest {
		t.Fatalf("Prepare: %v, %v; want %s", got, err, digest)
	}
	if asked := origin.Asked(""); len(asked) != 0 {
		t.Errorf("the registry was asked %q", asked)
	}
	if resolved, err := d.Resolve(t.Context(), ref); err != nil || resolved != digest {
		t.Errorf("Resolve: %s, %v", resolved, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(of1) != 1 || !of1[origin.Host] {
		t.Errorf("the mirror was asked for images of %v; want %s alone", of1, origin.Host)
	}
	if last.From != mirror.Host+"/hub" || last.Done != last.Total {
		t.Errorf("the last progress is %+v", last)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// Whatever is wrong with a mirror, the image comes from the next place.
func TestMirrorFails(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	answer := func(code int) func(*testing.T, *imagetest.Registry) {
		return func(_ *testing.T, m *imagetest.Registry) {
			m.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(code)
				return true
			})
		}
	}
	// instead answers requests for what is called so with other bytes.
	instead := func(what string, body func(http.ResponseWriter)) func(*testing.T, *imagetest.Registry) {
		return func(_ *testing.T, m *imagetest.Registry) {
			m.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
				if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, what) {
					return false
				}
				body(w)
				return true
			})
		}
	}
	for _, c := range []struct {
		name    string
		options imagetest.RegistryOptions
		spoil   func(*testing.T, *imagetest.Registry)
	}{
		// It is not there, or its name leads nowhere.
		{name: "down", spoil: func(_ *testing.T, m *imagetest.Registry) { m.Stop() }},
		// It takes the request and says nothing.
		{name: "slow", spoil: func(_ *testing.T, m *imagetest.Registry) {
			m.Intercept(func(_ http.ResponseWriter, req *http.Request) bool {
				<-req.Context().Done()
				return true
			})
		}},
		{name: "404", spoil: answer(http.StatusNotFound)},
		{name: "403", spoil: answer(http.StatusForbidden)},
		{name: "429", spoil: answer(http.StatusTooManyRequests)},
		{name: "500", spoil: answer(http.StatusInternalServerError)},
		// It wants credentials, of either kind, that we have not.
		{name: "basic", options: imagetest.RegistryOptions{User: "u", Secret: "s"}, spoil: func(*testing.T, *imagetest.Registry) {}},
		{name: "bearer", options: imagetest.RegistryOptions{User: "u", Secret: "s", Bearer: true}, spoil: func(*testing.T, *imagetest.Registry) {}},
		// Its certificate is nobody's.
		{name: "tls", options: imagetest.RegistryOptions{TLS: true}, spoil: func(*testing.T, *imagetest.Registry) {}},
		// It knows the tag, and serves other content for the digest.
		{name: "other layers", spoil: instead("/blobs/", func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("x", 1<<10)) })},
		{name: "other manifest", spoil: instead("/manifests/sha256:", func(w http.ResponseWriter) { fmt.Fprint(w, "{}") })},
		// It breaks off in the middle, after bytes that are not those of the layer.
		{name: "breaks off", spoil: instead("/blobs/", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(3<<20))
			fmt.Fprint(w, strings.Repeat("x", 1<<20))
			panic(http.ErrAbortHandler)
		})},
		// It says of the tag what nobody can serve.
		{name: "lies about the tag", spoil: func(_ *testing.T, m *imagetest.Registry) {
			m.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, "/manifests/1") {
					return false
				}
				w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
				w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
				w.Header().Set("Content-Length", "100")
				return true
			})
		}},
	} {
		for _, pinned := range []bool{false, true} {
			if pinned && strings.Contains(c.name, "tag") {
				continue // what is pinned has none
			}
			t.Run(fmt.Sprintf("%s, pinned %t", c.name, pinned), func(t *testing.T) {
				_, mirror, ref, digest := pair(t, c.options, imagetest.Options{Padding: 2 << 20})
				origin, _, _ := strings.Cut(ref, "/")
				c.spoil(t, mirror)
				d := b.driver(t, mirrored(t, &imagetest.Registry{Host: origin}, mirror.Host))
				d.patience = time.Second
				pin := ""
				if pinned {
					pin = digest
				}
				var last runtime.Progress
				got, err := d.Prepare(t.Context(), of(ref, pin), func(p runtime.Progress) { last = p })
				if err != nil || got[ref] != digest {
					t.Fatalf("Prepare: %v, %v; want %s", got, err, digest)
				}
				if last.From != origin {
					t.Errorf("the last progress is %+v; want from %s", last, origin)
				}
			})
		}
	}
	if err := b.driver(t).Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// When nobody can serve, the error is that of the registry, and tells what the
// mirrors said. A mirror that did not answer is asked last for a while.
func TestMirrorAndRegistryFail(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	origin, mirror, ref, digest := pair(t, imagetest.RegistryOptions{}, imagetest.Options{})
	mirror.Stop()
	d := b.driver(t, mirrored(t, origin, mirror.Host))
	_, err := d.Prepare(t.Context(), of(strings.Replace(ref, "app:1", "none:1", 1), ""), nil)
	if !errors.Is(err, runtime.ErrNotFound) || strings.Contains(err.Error(), "%!") ||
		!strings.Contains(err.Error(), "registry "+origin.Host+" has no such image") ||
		!strings.Contains(err.Error(), "mirror "+mirror.Host+" does not answer: connect: connection refused") {
		t.Errorf("error is %v", err)
	}
	if err := mirror.Restart(); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Prepare(t.Context(), of(ref, digest), nil); err != nil || got[ref] != digest {
		t.Fatalf("Prepare: %v, %v", got, err)
	}
	if asked := mirror.Asked(""); len(asked) != 0 {
		t.Errorf("the mirror that was down was asked first: %q", asked)
	}
	// Last is not never.
	origin.Stop()
	second, other := push(t, mirror, "app:2", imagetest.Options{Files: map[string]string{"/second": t.Name()}})
	second = strings.Replace(second, mirror.Host, origin.Host, 1)
	if got, err := d.Prepare(t.Context(), of(second, ""), nil); err != nil || got[second] != other {
		t.Fatalf("Prepare: %v, %v", got, err)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// TestAttack04MirrorCredentials: a registry and its mirror each get their own
// credentials, whoever of them asks, and none of the other's.
func TestAttack04MirrorCredentials(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	for _, bearer := range []bool{false, true} {
		image := imagetest.Options{Files: map[string]string{"/own": fmt.Sprint(t.Name(), bearer)}}
		origin, ref, digest := newRegistry(t, imagetest.RegistryOptions{User: "of-origin", Secret: "s3cret-origin", Bearer: bearer}, image)
		mirror, _, _ := newRegistry(t, imagetest.RegistryOptions{User: "of-mirror", Secret: "s3cret-mirror", Bearer: bearer}, image)
		var mu sync.Mutex
		given := map[string]string{}
		note := func(who string) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, req *http.Request) bool {
				user, secret, _ := req.BasicAuth()
				_ = req.ParseForm() // what is no form has no fields
				mu.Lock()
				given[who] += user + secret + req.Form.Get("username") + req.Form.Get("password")
				mu.Unlock()
				broken := who == "mirror" && strings.Contains(req.URL.Path, "/blobs/")
				if broken {
					w.WriteHeader(http.StatusNotFound) // so that both are asked
				}
				return broken
			}
		}
		origin.Intercept(note("origin"))
		mirror.Intercept(note("mirror"))
		d := b.driver(t, mirrored(t, origin, mirror.Host), func(c *Config) {
			c.Credentials = func(_ context.Context, host string) (Login, error) {
				switch host {
				case origin.Host:
					return Login{User: "of-origin", Secret: "s3cret-origin"}, nil
				case mirror.Host:
					return Login{User: "of-mirror", Secret: "s3cret-mirror"}, nil
				}
				return Login{}, fmt.Errorf("%s is neither", host)
			}
		})
		if got, err := d.Prepare(t.Context(), of(ref, ""), nil); err != nil || got[ref] != digest {
			t.Fatalf("Prepare: %v, %v", got, err)
		}
		mu.Lock()
		for who, other := range map[string]string{"origin": "mirror", "mirror": "origin"} {
			if !strings.Contains(given[who], "s3cret-"+who) || strings.Contains(given[who], other) {
				t.Errorf("bearer %t: %s was given %q", bearer, who, given[who])
			}
		}
		mu.Unlock()
		if err := d.Sweep(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAttack22MirrorIsNoWayIn: that a host is a mirror, which may be anywhere,
// does not let an image of it lead into the node.
func TestAttack22MirrorIsNoWayIn(t *testing.T) {
	b := testBench(t)
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	const mirror = "mirror.example.com"
	d := b.driver(t, func(c *Config) {
		c.Registries = map[string]Registry{"registry.example.com": {Mirrors: []Mirror{{Host: mirror, Path: "/v2"}}}}
	})
	places := d.places(t.Context(), "registry.example.com")
	if len(places) != 2 || !places[0].mirror || places[1].mirror {
		t.Fatalf("places are %+v", places)
	}
	d.places(t.Context(), mirror) // an image that names the mirror as its registry
	for trusted, want := range map[bool]bool{true: true, false: false} {
		transport := d.httpClients[clientKey{mirror, trusted}].Transport.(*http.Transport)
		conn, err := transport.DialContext(t.Context(), "tcp", inside.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("trusted %t: dial: %v", trusted, err)
		}
	}
}

// TestAttack22ManifestLeadsInside: the manifest of an image names the place of
// a layer, and that is the metadata service, or whatever else the node reaches.
func TestAttack22ManifestLeadsInside(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	inside, _, _ := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{})
	r, err := imagetest.StartRegistry(imagetest.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	img, err := imagetest.Build(imagetest.Options{Binary: b.payload, Env: []string{"FOREIGN=1"}})
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Append(img, mutate.Addendum{Layer: layers[0], URLs: []string{"http://" + inside.Host + "/latest/meta-data"}})
	if err != nil {
		t.Fatal(err)
	}
	ref, digest, err := r.Push("foreign:1", img)
	if err != nil {
		t.Fatal(err)
	}
	d := b.driver(t)
	if got, err := d.Prepare(t.Context(), of(ref, ""), nil); err != nil || got[ref] != digest {
		t.Errorf("Prepare: %v, %v", got, err)
	}
	if asked := inside.Asked(""); slices.ContainsFunc(asked, func(a string) bool { return strings.Contains(a, "latest") }) {
		t.Errorf("the node was led to %q", asked)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}
