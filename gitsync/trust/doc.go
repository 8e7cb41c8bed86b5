// Package trust holds the keys of nodes and what is signed with them.
//
// A node makes an ed25519 key at its first start. With it it signs its records
// (SSH signatures, which ssh-keygen -Y verify -n orpheus-record checks as well)
// and proves to peers over TLS who it is. A key is named by its public half in
// the form of authorized_keys, without a comment: planner.NodeRecord.Key.
// Which key belongs to which node is not decided here.
package trust
