package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Key is the key of a node. Its methods may be called at once.
type Key struct {
	private ed25519.PrivateKey
	signer  ssh.Signer
	public  string
}

// maxKeyFile bounds the file of a key, which has some 400 bytes.
const maxKeyFile = 16 << 10

// LoadOrCreateKey reads the key in a file of OpenSSH's form, or makes one
// where there is no file. A new key is on disk before this returns. A file
// that others than its owner may touch is refused. Only one process at a time
// may make a key: the caller holds the lock of the folder, which must exist.
func LoadOrCreateKey(path string) (*Key, error) {
	key, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return nil, fmt.Errorf("load the node's key %s: %w", path, err)
		}
		return key, nil
	}
	key, err = createKey(path)
	if err != nil {
		return nil, fmt.Errorf("make the node's key %s: %w", path, err)
	}
	return key, nil
}

func loadKey(path string) (*Key, error) {
	// Before it is opened: opening a pipe would wait for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); goruntime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("others than its owner may use it (mode %04o): if nobody can have copied it, chmod 600 %s; else remove it, and the node gets a new key", mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxKeyFile:
		return nil, fmt.Errorf("is larger than %d bytes", maxKeyFile)
	}
	return parseKey(data)
}

func parseKey(data []byte) (*Key, error) {
	parsed, err := ssh.ParseRawPrivateKey(data)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, errors.New("is protected by a passphrase, which an agent cannot enter")
	}
	if err != nil {
		return nil, errors.New("is no private key of OpenSSH's form") // the cause might quote it
	}
	private, ok := parsed.(*ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("is not an ed25519 key: ssh-keygen -t ed25519 makes one")
	}
	return newKey(*private)
}

func newKey(private ed25519.PrivateKey) (*Key, error) {
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	return &Key{private: private, signer: signer, public: authorizedKey(signer.PublicKey())}, nil
}

// authorizedKey is the form in which keys are named and compared.
func authorizedKey(key ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
}

func createKey(path string) (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "orpheus node")
	if err != nil {
		return nil, err
	}
	if err := writeDurably(path, pem.EncodeToMemory(block)); err != nil {
		return nil, err
	}
	return newKey(private)
}

// writeDurably makes a file that only its owner may touch and waits until it
// is on disk. After a crash it is there whole or not at all.
func writeDurably(path string, data []byte) error {
	// Left by a crash it may have any mode or be a link: it is made anew.
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	if goruntime.GOOS == "windows" { // knows no flush of folders
		return nil
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Public names the key.
func (k *Key) Public() string { return k.public }

// String names the key, so that no log shows the rest of it.
func (k *Key) String() string { return k.public }

// GoString is String.
func (k *Key) GoString() string { return k.public }
