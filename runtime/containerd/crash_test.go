//go:build linux

package containerd

const childEnv = "ORPHEUS_TEST_CHILD"

func childMain() {}
