package dockerconfig

import "fmt"

// Check says why the file at path could not be used. It runs no program.
func Check(path string) error {
	if _, err := read(path); err != nil {
		return fmt.Errorf("docker's configuration %s: %w", path, err)
	}
	return nil
}
