//go:build linux

package process

func starter() {}
