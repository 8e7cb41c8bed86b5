// Package pluginpb is the wire format between an agent and a driver that is a
// program of its own, generated from driver.proto by "make generate". Nobody
// but runtime/plugin speaks it in Go.
package pluginpb
