package planner

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Revision identifies what an instance is made from. Same revision = same
// thing running.
type Revision string

// Short is enough of a revision for people to tell two apart.
func (r Revision) Short() string {
	const n = len("r1-") + 8
	if len(r) > n {
		return string(r[:n])
	}
	return string(r)
}

// RevisionOf is "r1-" and the SHA-256 of the template's canonical JSON:
// objects with sorted keys, no insignificant space, defaults omitted, no HTML
// escapes. The prefix names the algorithm, so that a later one can live beside
// it. A golden file holds the revisions of all examples: they may never
// change.
func RevisionOf(t Template) Revision {
	sum := sha256.Sum256(canonicalJSON(t))
	return Revision("r1-" + hex.EncodeToString(sum[:]))
}

// Fingerprint changes with whatever the manifest of a service says, but with
// where it stands. It is kept short.
func (s Service) Fingerprint() string {
	s.File, s.Line = "", 0
	sum := sha256.Sum256(canonicalJSON(s))
	return hex.EncodeToString(sum[:8])
}

// canonicalJSON encodes through a generic value, because encoding/json sorts
// the keys of maps: the order of struct fields must not matter.
func canonicalJSON(t any) []byte {
	encoded, err := json.Marshal(t)
	if err != nil {
		panic("planner: manifest does not encode: " + err.Error()) // plain data always does
	}
	dec := json.NewDecoder(bytes.NewReader(encoded))
	dec.UseNumber()
	var generic any
	if err := dec.Decode(&generic); err != nil {
		panic("planner: manifest does not decode: " + err.Error())
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(generic); err != nil {
		panic("planner: manifest does not encode: " + err.Error())
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}
