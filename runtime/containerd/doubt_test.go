//go:build linux

package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// TestPullInDoubt: that credentials cannot be read keeps nothing from a registry
// that gives its images to anyone, though by a token; one that wants some says
// why there are none. The log tells it once.
func TestPullInDoubt(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	closed := imagetest.RegistryOptions{User: "u", Secret: "p", Bearer: true}
	public, publicRef, _ := newRegistry(t, closed, imagetest.Options{Env: []string{"D=1"}})
	public.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/token" || req.Header.Get("Authorization") != "" {
			return false
		}
		fmt.Fprint(w, `{"token": "a-token-of-the-test-registry"}`)
		return true
	})
	bearer, bearerRef, _ := newRegistry(t, closed, imagetest.Options{Env: []string{"D=2"}})
	closed.Bearer = false
	basic, basicRef, _ := newRegistry(t, closed, imagetest.Options{Env: []string{"D=3"}})

	doubt := errors.New("the program is not there")
	login := Login{Doubt: doubt}
	var log bytes.Buffer
	d := b.driver(t, func(c *Config) {
		c.Credentials = func(context.Context, string) (Login, error) { return login, nil }
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	for range 2 {
		if _, err := d.Prepare(t.Context(), of(publicRef, ""), nil); err != nil {
			t.Errorf("open to anyone: %v", err)
		}
		for host, ref := range map[string]string{basic.Host: basicRef, bearer.Host: bearerRef} {
			_, err := d.Prepare(t.Context(), of(ref, ""), nil)
			if !errors.Is(err, runtime.ErrUnauthorized) ||
				!strings.Contains(err.Error(), "wants credentials, and those configured cannot be read: "+doubt.Error()) {
				t.Errorf("%s, open to some: %v", host, err)
			}
		}
	}
	for _, host := range []string{public.Host, basic.Host, bearer.Host} {
		if n := strings.Count(log.String(), "registry="+host); n != 1 {
			t.Errorf("%s is in the log %d times:\n%s", host, n, &log)
		}
	}
	login = Login{User: "u", Secret: "p"}
	if _, err := d.Prepare(t.Context(), of(basicRef, ""), nil); err != nil {
		t.Errorf("after it was mended: %v", err)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}
