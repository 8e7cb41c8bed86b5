package fleettest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// signer is a node's key.
type signer interface {
	public() string
	sign(ref planner.Ref, body string) (string, error)
}

// cheapKey stands in for a key where a run makes millions of signatures: a
// keyed sum, which only who knows the seed of the world can make.
type cheapKey struct{ name, secret string }

func (k cheapKey) public() string { return "ssh-ed25519 " + k.name }

func (k cheapKey) sign(ref planner.Ref, body string) (string, error) {
	return "-----BEGIN SSH SIGNATURE-----\n" + k.name + "\n" + k.sum(ref, body) + "\n-----END SSH SIGNATURE-----", nil
}

func (k cheapKey) sum(ref planner.Ref, body string) string {
	h := sha256.New()
	h.Write([]byte(k.secret + "\x00" + k.name + "\x00"))
	h.Write(planner.SignedText(ref, strings.TrimSuffix(body, "\n")))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// realKey is a key as nodes have it.
type realKey struct{ *trust.Key }

func (k realKey) public() string                                    { return k.Public() }
func (k realKey) sign(ref planner.Ref, body string) (string, error) { return k.Sign(ref, body) }

// newKey makes the next key of the world.
func (w *World) newKey() signer {
	w.keys++
	if !w.Real {
		return cheapKey{fmt.Sprintf("key%d", w.keys), fmt.Sprint(w.Seed)}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", w.Seed, w.keys))
	key, err := realKeyOf(ed25519.NewKeyFromSeed(sum[:]), filepath.Join(w.Dir, fmt.Sprintf("key%d", w.keys)))
	if err != nil {
		panic(err) // the tests' own folder does not work
	}
	return realKey{key}
}

func realKeyOf(private ed25519.PrivateKey, path string) (*trust.Key, error) {
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return trust.LoadOrCreateKey(path)
}

// verify is what members verify with.
func (w *World) verify(ref planner.Ref, body, signature string) (string, error) {
	if w.Real {
		return trust.Verify(ref, body, signature)
	}
	lines := strings.Split(signature, "\n")
	if len(lines) != 4 {
		return "", errors.New("the signature is garbled")
	}
	k := cheapKey{lines[1], fmt.Sprint(w.Seed)}
	if k.sum(ref, body) != lines[2] {
		return "", errors.New("the signature is wrong")
	}
	return k.public(), nil
}
