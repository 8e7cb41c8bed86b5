//go:build !linux

package relay

func lowestPort() int { return 1024 }
