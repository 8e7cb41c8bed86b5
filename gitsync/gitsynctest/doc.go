// Package gitsynctest is a real Git server for tests and the demo: bare
// repositories made with the git program, served by git http-backend over
// HTTP or TLS, with or without credentials, and with faults that can be
// switched on and off while it runs.
package gitsynctest
