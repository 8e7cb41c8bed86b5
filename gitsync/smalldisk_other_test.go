//go:build !linux

package gitsync_test

import "testing"

func smallDisk(t *testing.T, _ string) string {
	t.Skip("needs a small file system, which the test can only mount on Linux")
	return ""
}
