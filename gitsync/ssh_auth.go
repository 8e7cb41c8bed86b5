package gitsync

import (
	"bytes"
	"errors"
	"net"
	"os"
	goruntime "runtime"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxKeyFile bounds a private key; the largest in use have a few KiB.
const maxKeyFile = 64 * kibi

// sshKeys returns who we are: the key in file, or without one the keys of the
// ssh-agent at socket, which must answer within patience. release ends the use
// of the keys.
func sshKeys(file, socket string, patience time.Duration) (keys []ssh.Signer, release func(), err error) {
	if file != "" {
		key, err := readSSHKey(file)
		if err != nil {
			return nil, nil, err
		}
		return []ssh.Signer{key}, func() {}, nil
	}
	if socket == "" {
		return nil, nil, sshRefused("no key to log in with: name a key file in the configuration, or set SSH_AUTH_SOCK to an ssh-agent's socket")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, nil, sshRefused("ask ssh-agent: %v", err)
	}
	_ = conn.SetDeadline(time.Now().Add(2 * patience)) // it signs once the server is known, too
	keys, err = agent.NewClient(conn).Signers()
	if err == nil && len(keys) == 0 {
		err = errors.New("it holds no key; add one with ssh-add")
	}
	if err != nil {
		conn.Close()
		return nil, nil, sshRefused("ask ssh-agent at %s: %v", socket, err)
	}
	return keys, func() { conn.Close() }, nil
}

// readSSHKey reads a private key. No error holds any of its content.
func readSSHKey(file string) (ssh.Signer, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, sshRefused("read key file: %v", err)
	}
	switch mode := info.Mode().Perm(); {
	case !info.Mode().IsRegular() || info.Size() > maxKeyFile:
		return nil, sshRefused("key file %s is no file of at most %s", file, byteSize(maxKeyFile))
	case mode&0o077 != 0 && goruntime.GOOS != "windows":
		return nil, sshRefused("key file %s can be read by others (mode %#o): chmod 600 it", file, mode)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, sshRefused("read key file: %v", err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return key, nil
	case errors.As(err, &locked):
		return nil, sshRefused("key file %s has a passphrase, which nobody is here to type: make a key without one, "+
			"or leave the key file out and let an ssh-agent hold the key", file)
	case bytes.HasPrefix(pem, []byte("ssh-")) || bytes.HasPrefix(pem, []byte("ecdsa-")):
		return nil, sshRefused("key file %s holds a public key: name the file of the private one", file)
	}
	return nil, sshRefused("key file %s holds no private key in PEM or OpenSSH form", file)
}
