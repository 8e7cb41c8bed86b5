package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hiddeco/sshsig"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	testRef  planner.Ref = "leases/default/web"
	testBody string      = "{\n  \"tokens\": 7\n}"
)

func sign(t testing.TB, key *Key, ref planner.Ref, body string) string {
	t.Helper()
	signature, err := key.Sign(ref, body)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func TestSignature(t *testing.T) {
	key := newTestKey(t)
	signature := sign(t, key, testRef, testBody)
	// It must come through the text of a record as it is.
	text := planner.Message{Subject: "s", Parts: []planner.Part{{Body: testBody, Signature: signature}}}.String()
	m, err := planner.ParseMessage(text)
	if err != nil {
		t.Fatal(err)
	}
	if m.Parts[0].Signature != signature || m.Parts[0].Body != testBody {
		t.Errorf("read %q, %q", m.Parts[0].Body, m.Parts[0].Signature)
	}
	got, err := Verify(testRef, m.Parts[0].Body, m.Parts[0].Signature)
	if err != nil || got != key.Public() {
		t.Errorf("key %q, %v, want %q", got, err, key.Public())
	}
	if again := sign(t, key, testRef, testBody); again != signature {
		t.Error("the same body has two signatures: equal records would have two hashes")
	}
}

// TestAttack33ForgedSignature: what a stolen node or writer may try.
func TestAttack33ForgedSignature(t *testing.T) {
	key := newTestKey(t)
	good := sign(t, key, testRef, testBody)
	foreign := func(namespace string, hash sshsig.HashAlgorithm) string {
		sig, err := sshsig.Sign(strings.NewReader(string(planner.SignedText(testRef, testBody))), key.signer, hash, namespace)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(sshsig.Armor(sig)), "\n")
	}
	tests := []struct {
		name      string
		ref       planner.Ref
		body      string
		signature string
		want      string
	}{
		{"unsigned", testRef, testBody, "", "not signed"},
		{"another body", testRef, testBody + " ", good, "not one of this body"},
		// A lease document moved to another service.
		{"another name", "leases/default/db", testBody, good, "not one of this body for this name"},
		// The name and the body are told apart by a line end only.
		{"name and body run together", "leases/default/web\nx", testBody, sign(t, key, testRef, "x\n"+testBody), "not the name of a record"},
		// A signature of a commit or file by the same key.
		{"another namespace", testRef, testBody, foreign("git", sshsig.HashSHA512), "not one of this body"},
		{"another sum", testRef, testBody, foreign(planner.SignatureNamespace, sshsig.HashSHA256), "SHA-512"},
		{"cut off", testRef, testBody, good[:len(good)/2], "garbled"},
		{"one letter changed", testRef, testBody, flip(good, len(good)-60), ""},
		{"no armour", testRef, testBody, "trust me", "garbled"},
		{"huge", testRef, testBody, good + strings.Repeat("A", maxSignature), "more than"},
		{"huge body", testRef, strings.Repeat("A", planner.MaxRecordBytes+1), good, "more than"},
		{"another PEM", testRef, testBody, strings.ReplaceAll(good, "SSH SIGNATURE", "PGP SIGNATURE"), "garbled"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Verify(test.ref, test.body, test.signature)
			if err == nil || got != "" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("key %q, error %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestSignRefusesOtherNames(t *testing.T) {
	if signature, err := newTestKey(t).Sign("leases/default/web\nx", testBody); err == nil {
		t.Errorf("signed: %s", signature)
	}
}

func flip(s string, at int) string {
	b := []byte(s)
	if b[at]++; b[at] == '\n' || b[at-1] == '\n' {
		b[at]++
	}
	return string(b)
}

// Anyone with OpenSSH can check a record, and make a signature that we check.
func TestSignatureOfOpenSSH(t *testing.T) {
	folder := t.TempDir()
	key, err := LoadOrCreateKey(filepath.Join(folder, "key"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := string(planner.SignedText(testRef, testBody))
	signers := write("signers", "web-1 "+key.Public()+"\n")
	// From the record's text the signature is cut out without its last line end.
	for _, end := range []string{"", "\n"} {
		signature := write("signature", sign(t, key, testRef, testBody)+end)
		out := sshKeygen(t, text, "-Y", "verify", "-n", planner.SignatureNamespace, "-f", signers, "-I", "web-1", "-s", signature)
		if !strings.HasPrefix(out, "Good") {
			t.Error(out)
		}
	}

	sshKeygen(t, "", "-q", "-Y", "sign", "-n", planner.SignatureNamespace, "-f", filepath.Join(folder, "key"), write("text", text))
	theirs, err := os.ReadFile(filepath.Join(folder, "text.sig"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Verify(testRef, testBody, string(theirs)); err != nil || got != key.Public() {
		t.Errorf("key %q, %v", got, err)
	}
}

func FuzzVerify(f *testing.F) {
	key := newTestKey(f)
	good := sign(f, key, testRef, testBody)
	f.Add(testBody, good)
	f.Add(testBody, good+"\n")
	f.Add("", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----")
	f.Fuzz(func(t *testing.T, body, signature string) {
		got, err := Verify(testRef, body, signature)
		if (err == nil) != (got != "") {
			t.Errorf("key %q, error %v", got, err)
		}
		if err == nil && got == key.Public() && body != testBody {
			t.Errorf("a signature of another body was taken for one of %q", body)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	key := newTestKey(b)
	body := strings.Repeat("x", 4<<10)
	signature := sign(b, key, testRef, body)
	for b.Loop() {
		if _, err := Verify(testRef, body, signature); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	key := newTestKey(b)
	body := strings.Repeat("x", 4<<10)
	for b.Loop() {
		sign(b, key, testRef, body)
	}
}
