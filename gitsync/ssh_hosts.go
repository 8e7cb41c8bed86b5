package gitsync

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// knownHosts is what this node knows of the keys of SSH servers. Nothing is
// ever added to it here: trust in a host is given by people.
type knownHosts struct {
	files  []string
	check  ssh.HostKeyCallback
	signed bool // some hosts are known by an authority that signs their keys
}

const maxKnownHosts = 1 * mebi

// loadKnownHosts reads file, or without one what ssh reads for this user.
func loadKnownHosts(file string) (*knownHosts, error) {
	files := []string{file}
	if file == "" {
		if files = usualKnownHosts(); len(files) == 0 {
			return nil, hostRefused("there is no known_hosts file: name one in the configuration; " +
				"it holds the lines that ssh-keyscan prints for the host, once a person has compared them with what the host publishes")
		}
	}
	k := &knownHosts{files: files}
	for _, name := range files {
		info, err := os.Stat(name)
		if err == nil && info.Size() > maxKnownHosts {
			err = fmt.Errorf("%s is larger than %s", name, byteSize(maxKnownHosts))
		}
		var text []byte
		if err == nil {
			text, err = os.ReadFile(name)
		}
		if err != nil {
			return nil, hostRefused("read known_hosts: %v", err)
		}
		k.signed = k.signed || strings.Contains(string(text), "@cert-authority")
	}
	var err error
	if k.check, err = knownhosts.New(files...); err != nil {
		return nil, hostRefused("read known_hosts: %s", strings.TrimPrefix(err.Error(), "knownhosts: "))
	}
	return k, nil
}

// usualKnownHosts are the files ssh looks into, as far as they exist.
func usualKnownHosts() (files []string) {
	candidates := []string{"/etc/ssh/ssh_known_hosts"}
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		candidates = slices.Insert(candidates, 0, filepath.Join(u.HomeDir, ".ssh", "known_hosts"))
	}
	for _, name := range candidates {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			files = append(files, name)
		}
	}
	return files
}

// verify is the client's callback: it accepts the keys that are known, and
// tells people what to do about others.
func (k *knownHosts) verify(address string, remote net.Addr, key ssh.PublicKey) error {
	err := k.check(address, remote, key)
	if err == nil {
		return nil
	}
	host, offered := knownhosts.Normalize(address), key.Type()+" "+ssh.FingerprintSHA256(key)
	var unlike *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return hostRefused("%s shows the host key %s, which %s:%d revokes", host, offered, revoked.Revoked.Filename, revoked.Revoked.Line)
	case errors.As(err, &unlike) && len(unlike.Want) > 0:
		return hostRefused("the host key of %s is not the one in %s:%d: it shows %s. Somebody may be in between; "+
			"if the host really has a new key, replace that line", host, unlike.Want[0].Filename, unlike.Want[0].Line, offered)
	case errors.As(err, &unlike):
		return hostRefused("%s is not in %s: it shows %s. Compare that with what the host publishes, then append what "+
			"ssh-keyscan prints for it to the file", host, strings.Join(k.files, " or "), offered)
	}
	return hostRefused("the host key of %s: %s", host, printable(err.Error(), 200))
}

// algorithms are the kinds of host key to ask address for: only those it is
// known by, for a server with keys of several kinds shows the first we ask
// for. nil = the host is not known, any will do to say so.
func (k *knownHosts) algorithms(address string) (names []string) {
	var unlike *knownhosts.KeyError
	if err := k.check(address, unknownAddr{}, unknownKey{}); !errors.As(err, &unlike) || len(unlike.Want) == 0 {
		return nil
	}
	if k.signed {
		names = append(names, ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01)
	}
	for _, known := range unlike.Want {
		kinds := []string{known.Key.Type()}
		if kinds[0] == ssh.KeyAlgoRSA {
			kinds = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256} // never with SHA-1
		}
		for _, kind := range kinds {
			if !slices.Contains(names, kind) {
				names = append(names, kind)
			}
		}
	}
	return names
}

// unknownKey is a key no host has: asking for it tells what a host does have.
type unknownKey struct{}

func (unknownKey) Type() string                        { return "unknown" }
func (unknownKey) Marshal() []byte                     { return []byte("unknown") }
func (unknownKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

type unknownAddr struct{}

func (unknownAddr) Network() string { return "tcp" }
func (unknownAddr) String() string  { return "0.0.0.0:0" }

// errUntrusted is ErrUnauthorized where we do the refusing: the server does not
// show that it is the one people know.
var errUntrusted error = untrusted{}

type untrusted struct{}

func (untrusted) Error() string { return "remote is not trusted" }
func (untrusted) Unwrap() error { return ErrUnauthorized }

// hostRefused is sshRefused for what is known of servers.
func hostRefused(format string, args ...any) *remoteError {
	return &remoteError{kind: errUntrusted, text: fmt.Sprintf(format, args...)}
}

// sshRefused is an error that only people can mend.
func sshRefused(format string, args ...any) *remoteError {
	return &remoteError{kind: ErrUnauthorized, text: fmt.Sprintf(format, args...)}
}
