//go:build !linux

package process

// MaybeShim does nothing: there is no driver for this system.
func MaybeShim() {}
