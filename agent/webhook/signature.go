package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
)

// MaxBody is the largest body that is read; larger ones are refused.
const MaxBody = 256 << 10

// hexSignatures are the headers that carry the HMAC-SHA256 of the body in hex.
// GitHub sends the first, Bitbucket the second (in which older hosts have a
// SHA-1, which is not accepted), Gitea, Forgejo and Gogs the others.
var hexSignatures = []struct{ header, prefix string }{
	{"X-Hub-Signature-256", "sha256="},
	{"X-Hub-Signature", "sha256="},
	{"X-Forgejo-Signature", ""},
	{"X-Gitea-Signature", ""},
	{"X-Gogs-Signature", ""},
}

// claims reports whether a request has any header that could show the secret:
// without one its body need not be read.
func claims(h http.Header) bool {
	for _, s := range hexSignatures {
		if h.Get(s.header) != "" {
			return true
		}
	}
	return h.Get("X-Gitlab-Token") != "" || h.Get("Webhook-Signature") != ""
}

// signed reports whether the sender knows the secret. One header that shows it
// is enough: hosts send several.
func signed(h http.Header, body, secret []byte) bool {
	known, sum := false, sign(secret, body)
	for _, s := range hexSignatures {
		given, ok := strings.CutPrefix(h.Get(s.header), s.prefix)
		have, err := hex.DecodeString(given)
		if ok && err == nil && hmac.Equal(have, sum) {
			known = true
		}
	}
	return known || sameToken(h.Get("X-Gitlab-Token"), secret) || standard(h, body, secret)
}

func sign(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// sameToken is GitLab's older way: the secret itself is sent. Sums are
// compared, so that the time taken does not tell its length.
func sameToken(given string, secret []byte) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256(secret)
	return given != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// standard is GitLab's newer way, a "signing token", as standardwebhooks.com
// has it: a list of "v1,<base64>" of the HMAC-SHA256 of id, time and body. A
// secret "whsec_<base64>" stands for the bytes that are encoded; who takes the
// text itself as the key knows it as well. The time is not judged: see the
// package on what is sent again.
func standard(h http.Header, body, secret []byte) bool {
	keys := [][]byte{secret}
	if text, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil && len(decoded) >= minSecret {
			keys = append(keys, decoded)
		}
	}
	known := false
	for _, key := range keys {
		sum := sign(key, []byte(h.Get("Webhook-Id")+"."+h.Get("Webhook-Timestamp")+"."), body)
		for given := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
			version, text, _ := strings.Cut(given, ",")
			have, err := base64.StdEncoding.DecodeString(text)
			if version == "v1" && err == nil && hmac.Equal(have, sum) {
				known = true
			}
		}
	}
	return known
}
