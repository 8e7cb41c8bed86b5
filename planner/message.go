package planner

import (
	"errors"
	"strings"
)

// Message is the text of a record: a subject for people, then parts, each a
// JSON body with its signature. Only a fenced node record has two: what the
// node wrote, byte for byte, and what the fencer added.
type Message struct {
	Subject string // one line; signed by nobody
	Parts   []Part
}

// Part is one body and the signature over it.
type Part struct {
	Body string // JSON, several lines
	// Signature is an armoured SSH signature over SignedText; "" = none.
	Signature string
}

const (
	signatureBegin = "-----BEGIN SSH SIGNATURE-----\n"
	signatureEnd   = "-----END SSH SIGNATURE-----"
	maxParts       = 2
	// SignatureNamespace is the namespace of the SSH signatures on records:
	// they verify with ssh-keygen -Y verify -n orpheus-record.
	SignatureNamespace = "orpheus-record"
)

// SignedText is what a part's signature covers: the ref as well, so that no
// record can be moved to another name.
func SignedText(ref Ref, body string) []byte {
	return []byte("ref: " + string(ref) + "\n" + body)
}

// String is the text that ParseMessage reads.
func (m Message) String() string {
	var b strings.Builder
	b.WriteString(m.Subject + "\n")
	for _, p := range m.Parts {
		b.WriteString("\n" + strings.TrimSuffix(p.Body, "\n") + "\n")
		if p.Signature != "" {
			b.WriteString("\n" + strings.TrimSuffix(p.Signature, "\n") + "\n")
		}
	}
	return b.String()
}

// ParseMessage reads a record's text. A body begins with "{" at the start of a
// line and ends at an empty line; JSON of ours has none inside.
func ParseMessage(text string) (Message, error) {
	subject, rest, ok := strings.Cut(text, "\n\n")
	if !ok || strings.Contains(subject, "\n") {
		return Message{}, errors.New("record has no subject line followed by an empty one")
	}
	m := Message{Subject: subject}
	for block := range strings.SplitSeq(strings.TrimRight(rest, "\n"), "\n\n") {
		switch {
		case strings.HasPrefix(block, "{"):
			if len(m.Parts) == maxParts {
				return Message{}, errors.New("record has more than two parts")
			}
			m.Parts = append(m.Parts, Part{Body: block})
		case strings.HasPrefix(block, signatureBegin) && strings.HasSuffix(block, signatureEnd):
			if len(m.Parts) == 0 || m.Parts[len(m.Parts)-1].Signature != "" {
				return Message{}, errors.New("record has a signature without a body")
			}
			m.Parts[len(m.Parts)-1].Signature = block
		default:
			return Message{}, errors.New("record has text that is neither a body nor a signature")
		}
	}
	return m, nil
}
