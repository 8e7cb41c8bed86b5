package githubapp

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/redact"
)

const (
	maxKeyFile  = 64 << 10
	maxResponse = 64 << 10
	maxToken    = 4 << 10
	// GitHub takes an assertion for ten minutes at most, and none from its
	// future: a minute is left for clocks that differ.
	assertionLasts = 9 * time.Minute
	assertionEarly = time.Minute
	// skewed is from where on a clock is named as the reason.
	skewed = 30 * time.Second
)

// readKey reads the app's private key. No error holds any of its content.
func readKey(file string) (*rsa.PrivateKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, refused("read the private key of the app: %v", err)
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, refused("read the private key of the app: %v", err)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	if err != nil {
		return nil, refused("%s holds no private key of RSA in PEM: name the file that GitHub let you download for the app", file)
	}
	return key, nil
}

// assertion is what proves that we are the app.
func (a *App) assertion(now time.Time) (string, error) {
	key, err := readKey(a.config.PrivateKeyFile)
	if err != nil {
		return "", err
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer:    strconv.FormatInt(a.config.AppID, 10),
		IssuedAt:  jwt.NewNumericDate(now.Add(-assertionEarly)),
		ExpiresAt: jwt.NewNumericDate(now.Add(assertionLasts)),
	}).SignedString(key)
	if err != nil {
		return "", refused("sign with the private key in %s: %v", a.config.PrivateKeyFile, err)
	}
	return signed, nil
}

// mint asks for a new token, and returns for how long it is good.
func (a *App) mint(ctx context.Context, now time.Time) (token string, lasts time.Duration, err error) {
	assertion, err := a.assertion(now)
	if err != nil {
		return "", 0, err
	}
	address := fmt.Sprintf("%s/app/installations/%d/access_tokens", a.api, a.config.InstallationID)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(nil))
	if err != nil {
		return "", 0, refused("apiURL cannot be used")
	}
	req.Header.Set("Authorization", "Bearer "+assertion)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("User-Agent", "orpheus")
	res, err := a.client.Do(req)
	if err != nil {
		return "", 0, a.sendError(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return "", 0, a.sendError(ctx, err)
	}
	if res.StatusCode != http.StatusCreated {
		return "", 0, a.statusError(res, redact.Printable(redact.Token(assertion).Clean(message(body)), 150), now)
	}
	return a.parse(res, body, now)
}

// parse reads a minted token. How long it is good for is by GitHub's clock.
func (a *App) parse(res *http.Response, body []byte, now time.Time) (string, time.Duration, error) {
	var made struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(body, &made); err != nil || made.Token == "" || len(made.Token) > maxToken || made.Expires.IsZero() ||
		strings.ContainsFunc(made.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", 0, unreachable("%s answers with something that is no token; is apiURL right?", a.api.Host)
	}
	if sent, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		now = sent
	}
	if lasts := made.Expires.Sub(now); lasts > 0 {
		return made.Token, lasts, nil
	}
	return "", 0, unreachable("%s gives out a token that is over already; look at its clock and this node's", a.api.Host)
}

// message is what GitHub says of a failure.
func message(body []byte) string {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // nothing, if it is something else
	return said.Message
}

func (a *App) sendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var outer *url.Error // puts the address around it
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return unreachable("ask %s for a token: %s", a.api.Host, redact.Printable(err.Error(), 500))
}

// statusError says what an answer other than a token means.
func (a *App) statusError(res *http.Response, said string, now time.Time) error {
	if said != "" {
		said = fmt.Sprintf(", and says %q", said)
	}
	text := fmt.Sprintf("%s answers %d %s%s", a.api.Host, res.StatusCode, http.StatusText(res.StatusCode), said)
	switch res.StatusCode {
	case http.StatusUnauthorized:
		if sent, err := http.ParseTime(res.Header.Get("Date")); err == nil && now.Sub(sent).Abs() > skewed {
			return refused("%s: this node's clock is %s; set it", text, difference(now.Sub(sent)))
		}
		return refused("%s: %s is not the key of app %d; check privateKeyFile and appID", text, a.config.PrivateKeyFile, a.config.AppID)
	case http.StatusNotFound:
		return refused("%s: app %d has no installation %d there; check installationID, and whether it is still installed", text, a.config.AppID, a.config.InstallationID)
	case http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if after := limited(res, now); after > 0 {
			until := now.Add(after)
			r := unreachable("%s; as it wishes, it is not asked again before %s", text, until.UTC().Format("15:04:05 UTC"))
			r.until = until
			return r
		}
	}
	if res.StatusCode == http.StatusForbidden {
		return refused("%s; see whether the installation is suspended, or this node's address not on the list of those allowed", text)
	}
	return unreachable("%s", text)
}

func difference(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind GitHub's"
	}
	return d.Round(time.Second).String() + " ahead of GitHub's"
}

// limited is how long to wait for what GitHub limits; 0 = that is not it.
func limited(res *http.Response, now time.Time) time.Duration {
	header := res.Header
	if after := gitsync.ParseRetryAfter(header, now); after > 0 {
		return after
	}
	reset, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || header.Get("X-RateLimit-Remaining") != "0" {
		return 0
	}
	header = http.Header{"Retry-After": {time.Unix(reset, 0).UTC().Format(http.TimeFormat)}, "Date": header.Values("Date")}
	return gitsync.ParseRetryAfter(header, now)
}
