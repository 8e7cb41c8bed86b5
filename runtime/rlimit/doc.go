// Package rlimit reads the limits that manifests give to processes as the
// kernel takes them.
package rlimit
