package manifest

// use says when something cached was used last.
type use struct {
	last     uint64 // generation of the last load that used it
	accepted bool   // the last accepted load used it
}

func (u *use) state() *use { return u }

// sweep drops what neither the load of this generation nor the last accepted
// one used: refused commits, however many, neither push out what the next good
// one needs nor pile up.
func sweep[K comparable, V interface{ state() *use }](cache map[K]V, generation uint64, accepted bool) {
	for id, v := range cache {
		u := v.state()
		if accepted {
			u.accepted = u.last == generation
		}
		if !u.accepted && u.last != generation {
			delete(cache, id)
		}
	}
}
