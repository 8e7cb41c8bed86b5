// Package transport is how requests leave this node: which proxy they go
// through, and which authorities are trusted on the way. Whatever can be renewed
// on disk (the proxy's password, the file of authorities) is read at every
// use. Errors name the proxy, never its credentials.
package transport
