//go:build linux

package plugin_test

func agentMain()           {}
func notAPlugin(role string) {}
