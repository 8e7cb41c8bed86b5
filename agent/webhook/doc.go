// Package webhook answers the address that a Git host calls after a push. A
// call that is signed with the secret means "look at the repository now", and
// never more: nothing in its body is read, so an old one that is sent again
// does no more harm than a look that finds nothing new.
//
// The address is open to the network, so whoever has not shown the secret gets
// little: a body of bounded size and time, one answer whatever was wrong with
// the signature, and after a few of those none but "too many".
package webhook
