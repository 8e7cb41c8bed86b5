// Package draft makes documents of manifests field by field, in the order in
// which people read them, and keeps where each field comes from.
//
// F is what its user calls the origin of a field; package compose and package
// kubernetes have one each.
package draft

// Object is a part of a document under construction.
type Object[F any] []Member[F]

// Member is a field of an object. Its value is nil, text, a number, a truth
// value, a Scalar, an Object or a List. From is where it comes from.
type Member[F any] struct {
	Name  string
	Value any
	From  F
}

// List is a list of a document under construction.
type List[F any] []Item[F]

type Item[F any] struct {
	Value any
	From  F
}

// Scalar is a value that knows how YAML writes it.
type Scalar interface {
	Scalar() (tag, text string)
}

// Put sets a field, in the place of one of that name.
func (o *Object[F]) Put(name string, value any, from F) {
	for i := range *o {
		if (*o)[i].Name == name {
			(*o)[i] = Member[F]{name, value, from}
			return
		}
	}
	*o = append(*o, Member[F]{name, value, from})
}

// Get is the value of a field, nil if there is none.
func (o Object[F]) Get(name string) any {
	for _, m := range o {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}
