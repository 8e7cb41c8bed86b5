package resolver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ZoneFile is the name of the zone's file in the folder of a Helper.
const ZoneFile = "zone.json"

// maxZoneSize bounds the file: 1,000 services of 10 slots take 2 MiB.
const maxZoneSize = 64 << 20

// Write makes z the content of the file at once and whole. A file that has it
// already is not touched.
func Write(path string, z Zone) (err error) {
	text, err := json.Marshal(z)
	if err != nil {
		return fmt.Errorf("write names of services: %w", err)
	}
	if len(text) > maxZoneSize {
		return fmt.Errorf("write names of services: %d bytes, more than the %d a name server reads", len(text), maxZoneSize)
	}
	if have, err := readBounded(path); err == nil && bytes.Equal(have, text) {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write names of services: %w", err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), ".zone-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// readZone reads what Write wrote.
func readZone(path string) (Zone, error) {
	text, err := readBounded(path)
	if err != nil {
		return Zone{}, err
	}
	var z Zone
	if err := json.Unmarshal(text, &z); err != nil {
		return Zone{}, fmt.Errorf("read %s: %w", path, err)
	}
	return z, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	if info.Size() > maxZoneSize {
		return nil, fmt.Errorf("read %s: %d bytes, more than %d", path, info.Size(), maxZoneSize)
	}
	text := make([]byte, info.Size())
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}
