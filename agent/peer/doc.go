// Package peer lets nodes see each other without Git: each probes a few others
// every second, and tells those it speaks to whom it cannot reach itself.
//
// Peers is the one type. Its owner says whom to probe and who may call (Watch),
// what to tell them (Say) and whom to wake (Poke), and hears what changes:
// Sightings, Pokes, Probed. Connections are TLS 1.3 between node keys, which
// both sides compare with those of the records; nobody else gets past the
// handshake. Nothing crosses but "look now", a list of names and one flag, and
// a peer's word is never more than a hint.
//
// Beside that each node tells all others which instances of it take
// connections, and they acknowledge once they go by it (Announce, Awaited;
// Announcements, Applied): sooner than its status reaches them through the
// repository, and also while there is none.
package peer
