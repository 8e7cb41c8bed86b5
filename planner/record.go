package planner

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Ref names a record below the prefix of the records: "nodes/web-1",
// "leases/default/web", "fleet".
type Ref string

// Hash is the object id of a record, 40 hexadecimal digits; "" = no record.
type Hash string

// Short is enough of a hash for people to tell two apart.
func (h Hash) Short() string { return string(h[:min(8, len(h))]) }

// Record is the value of a ref: a commit on the empty tree. Equal records have
// equal hashes, so the hash of a record that was not read can be computed.
type Record struct {
	Author NodeName // who wrote it
	// At is when, in seconds since 1970 by the writer's calendar: for people
	// who read the log, never compared.
	At     int64
	Parent Hash // "" = none
	// Message is subject, empty line, body: see Message.
	Message string
}

// MaxRecordBytes bounds a record; larger ones are neither written nor read.
const MaxRecordBytes = 256 << 10

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// Object is the content of the commit object, as git stores it.
func (r Record) Object() []byte {
	var b bytes.Buffer
	b.WriteString("tree " + emptyTree + "\n")
	if r.Parent != "" {
		b.WriteString("parent " + string(r.Parent) + "\n")
	}
	who := fmt.Sprintf("%s <%s@orpheus> %d +0000\n", r.Author, r.Author, r.At)
	b.WriteString("author " + who + "committer " + who + "\n" + r.Message)
	return b.Bytes()
}

// Hash is the id of the record's commit.
func (r Record) Hash() Hash {
	object := r.Object()
	h := sha1.New()
	fmt.Fprintf(h, "commit %d\x00", len(object))
	h.Write(object)
	return Hash(hex.EncodeToString(h.Sum(nil)))
}

// ParseRecord reads the content of a commit object. Any commit can be read:
// what it says is for others to judge.
func ParseRecord(object []byte) (Record, error) {
	if len(object) > MaxRecordBytes {
		return Record{}, fmt.Errorf("record of %d bytes is larger than %d", len(object), MaxRecordBytes)
	}
	head, message, ok := strings.Cut(string(object), "\n\n")
	if !ok {
		return Record{}, errors.New("record is not a commit")
	}
	r := Record{Message: message}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		switch {
		case key == "parent" && r.Parent == "":
			r.Parent = Hash(value)
		case key == "author" && r.Author == "":
			r.author(value)
		}
	}
	return r, nil
}

// author reads "name <mail> seconds zone".
func (r *Record) author(value string) {
	name, rest, _ := strings.Cut(value, " <")
	r.Author = NodeName(name)
	if _, when, ok := strings.Cut(rest, "> "); ok {
		seconds, _, _ := strings.Cut(when, " ")
		r.At, _ = strconv.ParseInt(seconds, 10, 64) // a claim for people: 0 will do
	}
}

// The refs of the records.
func NodeRef(n NodeName) Ref   { return Ref("nodes/" + n) }
func StatusRef(n NodeName) Ref { return Ref("status/" + n) }
func BeatsRef(n NodeName) Ref  { return Ref("beats/" + n) }

// FleetRef is the one record that is nobody's: floor, generation, format.
const FleetRef Ref = "fleet"

// LeasesRef is the ref of one shard of a service's lease document. Shard 0 is
// named like the service, shard k like the service with "+k".
func LeasesRef(id ServiceID, shard int) Ref {
	ref := "leases/" + id.Namespace + "/" + id.Name
	if shard > 0 {
		ref += "+" + strconv.Itoa(shard)
	}
	return Ref(ref)
}

// RefKind says what a ref holds.
type RefKind int

// The kinds of record.
const (
	RefOther RefKind = iota // none of ours: ignored
	RefNode
	RefStatus
	RefBeats
	RefLeases
	RefFleet
)

// Parts is a ref taken apart.
type Parts struct {
	Kind    RefKind
	Node    NodeName  // of nodes, status and beats
	Service ServiceID // of leases
	Shard   int
}

// Parse takes a ref apart. Names that are no DNS labels make it RefOther.
func (r Ref) Parse() Parts {
	room, rest, _ := strings.Cut(string(r), "/")
	switch room {
	case string(FleetRef):
		if rest == "" && r == FleetRef {
			return Parts{Kind: RefFleet}
		}
	case "nodes", "status", "beats":
		kind := map[string]RefKind{"nodes": RefNode, "status": RefStatus, "beats": RefBeats}[room]
		if dnsLabel(rest) {
			return Parts{Kind: kind, Node: NodeName(rest)}
		}
	case "leases":
		namespace, name, _ := strings.Cut(rest, "/")
		name, suffix, sharded := strings.Cut(name, "+")
		shard := 0
		if sharded {
			n, err := strconv.Atoi(suffix)
			if err != nil || n < 1 || n >= MaxShards || strconv.Itoa(n) != suffix {
				return Parts{}
			}
			shard = n
		}
		if dnsLabel(namespace) && dnsLabel(name) {
			return Parts{Kind: RefLeases, Service: ServiceID{Namespace: namespace, Name: name}, Shard: shard}
		}
	}
	return Parts{}
}

// dnsLabel reports whether s is a name of ours: a-z, 0-9 and -, at most 63.
func dnsLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') })
}
