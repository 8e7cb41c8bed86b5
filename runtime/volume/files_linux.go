package volume

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var sum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// notesName is the file in an instance's scratch folder that names the files
// it uses, one sum a line. No volume can have that name.
const notesName = ".files"

// noteFiles notes the files of the instance before any of them is written.
func noteFiles(root *os.Root, id string, volumes []planner.Volume) error {
	var notes strings.Builder
	for _, vol := range volumes {
		if vol.File == nil {
			continue
		}
		if !sum.MatchString(vol.File.SHA256) {
			return fmt.Errorf("file volume %q: %q is no SHA-256: %w", vol.Name, vol.File.SHA256, runtime.ErrInvalid)
		}
		notes.WriteString(vol.File.SHA256 + "\n")
	}
	if notes.Len() == 0 {
		return nil
	}
	rel, err := makeFolder(root, passageMode, scratchDir, id)
	if err != nil {
		return err
	}
	if err := writeWhole(root, filepath.Join(rel, notesName), []byte(notes.String()), 0o600); err != nil {
		return fmt.Errorf("note files: %w", err)
	}
	return nil
}

// file returns the path of the content, written if it is not on disk as it
// should be: a power cut may have torn it.
func (v *Volumes) file(root *os.Root, want string, files func(string) ([]byte, error)) (string, error) {
	if _, err := makeFolder(root, passageMode, filesDir); err != nil {
		return "", err
	}
	rel := filepath.Join(filesDir, want)
	if holds(root, rel, want) {
		return v.path(rel), nil
	}
	body, err := files(want)
	if err != nil {
		return "", fmt.Errorf("read its content from the repository: %w", err)
	}
	if got := sha256.Sum256(body); hex.EncodeToString(got[:]) != want {
		return "", fmt.Errorf("its content has SHA-256 %x, want %s: %w", got, want, runtime.ErrInvalid)
	}
	if err := writeWhole(root, rel, body, 0o444); err != nil {
		return "", fmt.Errorf("write file: %w", err)
	}
	return v.path(rel), nil
}

// holds reports whether rel is a regular file, read-only, with that content.
func holds(root *os.Root, rel, want string) bool {
	st, err := root.Lstat(rel)
	if err != nil || st.Mode() != 0o444 { // a link or anything else has type bits
		return false
	}
	f, err := root.Open(rel)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false
	}
	return hex.EncodeToString(h.Sum(nil)) == want
}

// writeWhole makes the file appear whole or not at all. Whatever has its name,
// a link too, is replaced and not written through.
func writeWhole(root *os.Root, rel string, body []byte, mode os.FileMode) error {
	tmp := filepath.Join(filepath.Dir(rel), ".new-"+rand.Text())
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = root.Rename(tmp, rel)
	}
	if err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	return nil
}

// sweepFiles removes the files that no scratch folder notes, and what a
// killed agent had begun to write.
func (v *Volumes) sweepFiles(root *os.Root) error {
	v.inUse.Lock()
	defer v.inUse.Unlock()
	used := map[string]bool{}
	ids, err := folders(root, scratchDir)
	if err != nil {
		return fmt.Errorf("look for unused files: %w", err)
	}
	for _, id := range ids {
		notes, err := root.ReadFile(filepath.Join(scratchDir, id, notesName))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("look for unused files: %w", err)
		}
		for s := range strings.FieldsSeq(string(notes)) {
			used[s] = true
		}
	}
	entries, err := fs.ReadDir(root.FS(), filesDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for unused files: %w", err)
	}
	var faults []error
	for _, e := range entries {
		if !used[e.Name()] && !e.IsDir() {
			if err := root.Remove(filepath.Join(filesDir, e.Name())); err != nil {
				faults = append(faults, fmt.Errorf("remove unused file: %w", err))
			}
		}
	}
	return errors.Join(faults...)
}
