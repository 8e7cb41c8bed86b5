// Package gitsync is the only room that talks Git. It follows one branch of
// one repository and hands out what it finds as values.
//
// Data flows through it in one direction. A [Repository] keeps a clone, which
// is a cache: objects in packs, never a work tree. [Repository.Fetch] takes
// one look at the remote (one advertisement of references); if the branch has
// moved it downloads a pack into quarantine, bounds and indexes it, checks that
// the new commit and its tree are whole, and only then lets it into the clone.
// [Repository.FS] shows any commit of the clone as an [io/fs.FS] whose files
// and folders carry their object id. [Follow] repeats the look with jitter and
// back-off, sooner when a hint arrives; [WatchLocal] makes hints from a
// repository on the same machine.
//
// A [Board] keeps the records of the fleet: refs that change only by comparison
// with the value that was read. [RefBoard] lists them by prefix, reads the
// objects of those that changed without a clone, and pushes with a request of
// its own, whose outcome is what the server's report says and nothing else.
//
// The remote, and everybody who can commit, is assumed hostile. Advertisement,
// pack, every single object, their number and their sum, and the time all this
// takes have limits ([Limits]); what is over them is refused with a
// [LimitError] that names the limit. Nothing is read into memory before its
// size is known.
//
// The formats of Git are go-git's: pushes, their reports and bands (packp,
// sideband), the entries of packs, deltas and indexes (packfile, idxfile),
// commits (object). What is here is version 2 of the protocol, which go-git
// does not speak (link.go, protocol.go), and what bounds the formats: a client
// for each transport without any process-wide registry (http.go, local.go,
// ssh.go), the passes that bound and index a
// pack (packscan.go and packresolve.go say why not go-git's), the quarantine,
// and the names and modes of folders (tree.go).
//
// Submodules, LFS pointers and symbolic links are shown as what they are and
// never followed.
//
// Credentials, keys, known hosts and authorities are read anew for every look,
// and [WatchFiles] makes hints from their files; secrets appear in no error, log
// or String method (leaf redact). Leaf transport says which proxy requests go
// through, leaf githubapp mints tokens. A server that asks for a pause is asked
// nothing before it is over (retryafter.go).
package gitsync
