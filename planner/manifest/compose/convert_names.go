package compose

import "strings"

// renamed reports whether the service's name in the fleet is another one than
// programs of the project look up.
func (s *service) renamed() bool {
	label := s.names[s.Name]
	return label != strings.ToLower(s.Name) && isLabel(label, maxServiceName) // otherwise a fault
}

// warnOfName tells under which name commands know a service.
func (s *service) warnOfName() {
	label := s.names[s.Name]
	switch {
	case !s.renamed():
	case s.NetworkMode == "host":
		s.warn(s.at, "is called "+label+" here: a service's name is part of a host name", "use "+label+" in commands and in x-orpheus, or call it that")
	default:
		s.warn(s.at, "is called "+label+" here; "+strings.ToLower(s.Name)+" leads there too", "use "+label+" in commands and in x-orpheus, or call it that, here and where others name it")
	}
}

// isAlias reports whether s can be a further name of a service, as package
// manifest has it.
func isAlias(s string) bool { return isLabel(strings.ReplaceAll(s, "_", "-"), 63) }
