// Package githubapp logs in to GitHub as an app instead of as a person: it
// mints tokens for one installation of the app, which last an hour, with the
// app's private key.
package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

// Config names an app and its installation.
type Config struct {
	AppID          int64
	InstallationID int64
	// PrivateKeyFile is the key GitHub gave out for the app, in PEM. It is read
	// for every minting.
	PrivateKeyFile string
	// APIURL is where tokens are minted: "" = https://api.github.com. That of
	// GitHub Enterprise is https://HOST/api/v3.
	APIURL    string
	Transport transport.Options
}

const (
	defaultAPI = "https://api.github.com"
	// user is whom tokens of apps are the password of.
	user = "x-access-token"
	// reserve is how long before its end a token is replaced.
	reserve = 5 * time.Minute
	// maxLife bounds how long any token is used, whatever its end is said to be.
	maxLife = time.Hour
	// minGap is the least time between two mintings of which the first
	// succeeded.
	minGap = time.Minute
	// patience bounds one minting.
	patience = 30 * time.Second
)

// App mints tokens and keeps the last one until shortly before its end. It is
// safe for concurrent use: whoever comes while one is minted waits for it.
type App struct {
	config Config
	api    *url.URL
	client *http.Client

	turn chan struct{} // holds one token; who has it may mint

	mu     sync.Mutex
	token  string // "" = none
	minted time.Time
	useTo  time.Time
	closed refusal // the API wants to be left alone
}

// New checks c, all of it. It reads no key and touches no network.
func New(c Config) (*App, error) {
	var faults []error
	if c.AppID <= 0 {
		faults = append(faults, errors.New("appID is missing: it is shown in the app's settings"))
	}
	if c.InstallationID <= 0 {
		faults = append(faults, errors.New("installationID is missing: it ends the address of the installation's settings"))
	}
	if !filepath.IsAbs(c.PrivateKeyFile) {
		faults = append(faults, fmt.Errorf("privateKeyFile %q is not an absolute path", c.PrivateKeyFile))
	}
	api, err := parseAPI(c.APIURL)
	if err != nil {
		faults = append(faults, err)
	}
	route, err := transport.New(c.Transport)
	if err != nil {
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &App{config: c, api: api, turn: make(chan struct{}, 1), client: &http.Client{
		Transport: route, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// parseAPI reads the API's address. Its errors never hold it as written.
func parseAPI(raw string) (*url.URL, error) {
	if raw == "" {
		raw = defaultAPI
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("apiURL is no address such as https://HOST/api/v3")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("apiURL holds credentials, a query or a fragment; write https://HOST/api/v3")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("apiURL: over plain http tokens can be read on the way; use https")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// String names the app, which is no secret.
func (a *App) String() string {
	return fmt.Sprintf("app %d, installation %d at %s", a.config.AppID, a.config.InstallationID, a.api.Host)
}

// GoString is String: the App holds a token.
func (a *App) GoString() string { return a.String() }

// Credentials returns a token that lasts for minutes at least. Its errors are
// ErrUnauthorized where a person must act, else ErrUnreachable, and carry for
// how long the API is not to be asked again.
func (a *App) Credentials(ctx context.Context) (gitsync.Credentials, error) {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return gitsync.Credentials{}, context.Cause(ctx)
	}
	defer func() { <-a.turn }()
	if token, err := a.kept(time.Now()); token != "" || err != nil {
		return credentials(token), err
	}
	begin := time.Now()
	token, lasts, err := a.mint(ctx, begin)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		var r *refusal
		if errors.As(err, &r) && r.until.After(begin) {
			a.closed = *r
		}
		return gitsync.Credentials{}, err
	}
	a.token, a.minted, a.useTo = token, begin, begin.Add(useFor(lasts))
	return credentials(token), nil
}

func credentials(token string) gitsync.Credentials {
	if token == "" {
		return gitsync.Credentials{}
	}
	return gitsync.Credentials{Username: user, Password: token}
}

// useFor is how long a token is used that is good for a while from now on.
func useFor(lasts time.Duration) time.Duration {
	lasts = min(lasts, maxLife)
	return max(lasts-reserve, min(lasts/2, reserve), minGap)
}

// kept is the token there is, or why none is minted now.
func (a *App) kept(now time.Time) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.token != "" && now.Before(a.useTo):
		return a.token, nil
	case now.Before(a.closed.until):
		return "", &a.closed
	}
	return "", nil
}

// Refused is told that a Git server did not accept a token: what it may do was
// changed, perhaps, and the next one may do it.
func (a *App) Refused(c gitsync.Credentials) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Password == a.token && time.Since(a.minted) >= minGap {
		a.token = ""
	}
}

// UseUntil is until when the token at hand is used; zero = there is none.
func (a *App) UseUntil() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == "" {
		return time.Time{}
	}
	return a.useTo
}
