//go:build unix && !linux

package main

func plain()           { fail("not on this system") }
func orphans(_, _ int) { fail("not on this system") }
func desert()          { fail("not on this system") }
