package planner

import (
	"cmp"
	"strconv"
	"strings"
)

// NodeName names one machine of the fleet.
type NodeName string

// ServiceID names a service. Both parts are DNS labels.
type ServiceID struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// DefaultNamespace is the namespace of a manifest that names none.
const DefaultNamespace = "default"

// String is "name" in the default namespace and "namespace/name" elsewhere:
// the form people type and read.
func (s ServiceID) String() string {
	if s.Namespace == DefaultNamespace || s.Namespace == "" {
		return s.Name
	}
	return s.Namespace + "/" + s.Name
}

// Compare orders services by namespace, then name.
func (s ServiceID) Compare(o ServiceID) int {
	if c := strings.Compare(s.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(s.Name, o.Name)
}

// ParseServiceID reads what String wrote.
func ParseServiceID(s string) ServiceID {
	if ns, name, ok := strings.Cut(s, "/"); ok {
		return ServiceID{Namespace: ns, Name: name}
	}
	return ServiceID{Namespace: DefaultNamespace, Name: s}
}

// SlotID names one place of a service. Name is the decimal index "0".."N-1",
// or the node's name for a service that runs on every node.
type SlotID struct {
	Service ServiceID `json:"service"`
	Name    string    `json:"name"`
}

// String is the form people read: "web-0", "shop/web-0".
func (s SlotID) String() string { return s.Service.String() + "-" + s.Name }

// Compare orders slots by service, then by number, then by name.
func (s SlotID) Compare(o SlotID) int {
	if c := s.Service.Compare(o.Service); c != 0 {
		return c
	}
	return compareSlotNames(s.Name, o.Name)
}

// compareSlotNames puts numbers before names and numbers in numeric order, so
// that slot 10 follows slot 9. Only equal names are equal.
func compareSlotNames(a, b string) int {
	na, numberA := slotNumber(a)
	nb, numberB := slotNumber(b)
	switch {
	case numberA && numberB:
		return cmp.Or(cmp.Compare(na, nb), strings.Compare(a, b))
	case numberA:
		return -1
	case numberB:
		return 1
	}
	return strings.Compare(a, b)
}

// slotNumber is the number that a slot's name is. A name that cannot be one is
// told without the error that a look at it would make.
func slotNumber(name string) (n int, is bool) {
	if name == "" || name[0] > '9' {
		return 0, false
	}
	n, err := strconv.Atoi(name)
	return n, err == nil
}
