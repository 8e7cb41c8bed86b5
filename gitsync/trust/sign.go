package trust

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/orpheus-cd/orpheus/planner"
)

// maxSignature bounds an armoured signature; those of ed25519 have some 300
// bytes.
const maxSignature = 1 << 10

// errNoRecord refuses names that could run together with the body.
var errNoRecord = errors.New("it is not the name of a record")

// Sign signs the body of a record for its ref. The signature is armoured and
// has no line end at its end: planner.Part.Signature.
func (k *Key) Sign(ref planner.Ref, body string) (string, error) {
	if ref.Parse().Kind == planner.RefOther {
		return "", fmt.Errorf("sign record %q: %w", ref, errNoRecord)
	}
	sig, err := sshsig.Sign(bytes.NewReader(planner.SignedText(ref, body)), k.signer, sshsig.HashSHA512, planner.SignatureNamespace)
	if err != nil {
		return "", fmt.Errorf("sign record %q: %w", ref, err)
	}
	return strings.TrimSuffix(string(sshsig.Armor(sig)), "\n"), nil
}

// Verify checks the signature of a record's body for its ref and returns the
// key it was made with. Whose key that is, the signature does not say.
func Verify(ref planner.Ref, body, signature string) (key string, err error) {
	if key, err = verify(ref, body, signature); err != nil {
		return "", fmt.Errorf("verify record %q: %w", ref, err)
	}
	return key, nil
}

func verify(ref planner.Ref, body, signature string) (string, error) {
	switch {
	case ref.Parse().Kind == planner.RefOther:
		return "", errNoRecord
	case signature == "":
		return "", errors.New("it is not signed")
	case len(signature) > maxSignature:
		return "", fmt.Errorf("the signature has more than %d bytes", maxSignature)
	case len(body) > planner.MaxRecordBytes:
		return "", fmt.Errorf("the body has more than %d bytes", planner.MaxRecordBytes)
	}
	sig, err := sshsig.Unarmor([]byte(signature))
	if err != nil {
		return "", errors.New("the signature is garbled") // the cause might quote it
	}
	switch {
	case sig.PublicKey.Type() != ssh.KeyAlgoED25519:
		return "", errors.New("the signature is not one of an ed25519 key")
	case sig.HashAlgorithm != sshsig.HashSHA512:
		return "", errors.New("the signature is not one of a SHA-512 sum")
	}
	text := bytes.NewReader(planner.SignedText(ref, body))
	if err := sshsig.Verify(text, sig, sig.PublicKey, sig.HashAlgorithm, planner.SignatureNamespace); err != nil {
		return "", errors.New("the signature is not one of this body for this name")
	}
	return authorizedKey(sig.PublicKey), nil
}
