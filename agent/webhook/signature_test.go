package webhook

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"testing"
)

// The example of GitHub's documentation: its secret, body and signature.
func TestSignatureOfGitHubsDocumentation(t *testing.T) {
	h := http.Header{}
	h.Set("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	if !signed(h, []byte("Hello, World!"), []byte("It's a Secret to Everybody")) {
		t.Error("the documented signature is refused")
	}
}

// The example of the Standard Webhooks specification.
func TestSignatureOfStandardWebhooks(t *testing.T) {
	h := http.Header{}
	h.Set("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	h.Set("Webhook-Timestamp", "1614265330")
	h.Set("Webhook-Signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	if !signed(h, []byte(`{"test": 2432232314}`), []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")) {
		t.Error("the documented signature is refused")
	}
}

func TestSigned(t *testing.T) {
	const body, secret = `{"ref":"refs/heads/main"}`, "0123456789abcdef0123456789abcdef"
	sum := hex.EncodeToString(sign([]byte(secret), []byte(body)))
	other := hex.EncodeToString(sign([]byte("another secret altogether"), []byte(body)))
	list := base64.StdEncoding.EncodeToString(sign([]byte(secret), []byte("id.1700000000."+body)))
	standardHeaders := func(signatures string) map[string]string {
		return map[string]string{"webhook-id": "id", "webhook-timestamp": "1700000000", "webhook-signature": signatures}
	}
	for _, row := range []struct {
		name    string
		headers map[string]string
		want    bool
	}{
		{"GitHub", map[string]string{"X-Hub-Signature-256": "sha256=" + sum}, true},
		{"Bitbucket, Data Center and Cloud", map[string]string{"X-Hub-Signature": "sha256=" + sum}, true},
		{"Forgejo", map[string]string{"X-Forgejo-Signature": sum}, true},
		{"Gitea", map[string]string{"X-Gitea-Signature": sum}, true},
		{"GitLab, secret token", map[string]string{"X-Gitlab-Token": secret}, true},
		{"GitLab, signing token", standardHeaders("v1," + list), true},
		{"one of several versions and keys", standardHeaders("v1a,x v1,AAAA v1," + list), true},
		{"one wrong header beside a right one", map[string]string{"X-Gitea-Signature": other, "X-Hub-Signature-256": "sha256=" + sum}, true},
		{"nothing", nil, false},
		{"another secret", map[string]string{"X-Hub-Signature-256": "sha256=" + other}, false},
		{"a signature cut short", map[string]string{"X-Hub-Signature-256": "sha256=" + sum[:32]}, false},
		{"an empty signature", map[string]string{"X-Hub-Signature-256": "sha256="}, false},
		{"without its prefix", map[string]string{"X-Hub-Signature-256": sum}, false},
		{"SHA-1, as GitHub's old header has it", map[string]string{"X-Hub-Signature": "sha1=" + sum[:40]}, false},
		{"not hex", map[string]string{"X-Gitea-Signature": "zz" + sum[2:]}, false},
		{"the signature as token", map[string]string{"X-Gitlab-Token": sum}, false},
		{"a token cut short", map[string]string{"X-Gitlab-Token": secret[:16]}, false},
		{"another version only", standardHeaders("v2," + list), false},
		{"the time changed", map[string]string{"webhook-id": "id", "webhook-timestamp": "1700000001", "webhook-signature": "v1," + list}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := http.Header{}
			for name, value := range row.headers {
				h.Set(name, value)
			}
			if got := signed(h, []byte(body), []byte(secret)); got != row.want {
				t.Errorf("signed: %v, want %v", got, row.want)
			}
			if row.want && signed(h, []byte(body+" "), []byte(secret)) && row.headers["X-Gitlab-Token"] == "" {
				t.Error("another body passes with the same signature")
			}
			if row.want && !claims(h) {
				t.Error("it is refused before it is looked at")
			}
		})
	}
}
