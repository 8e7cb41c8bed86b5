package manifest

import (
	"regexp"
	"testing"
)

// Every field says which values it takes, with patterns that compile.
func TestEveryFieldHasAShape(t *testing.T) {
	var check func(t *testing.T, path string, s Shape)
	var fields func(t *testing.T, path string, list []Field)
	check = func(t *testing.T, path string, s Shape) {
		if s.Type == "" {
			t.Errorf("%s has no shape: say beside its name what it takes", path)
		}
		if _, err := regexp.Compile(s.Pattern); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if s.Pattern != "" && s.Says == "" {
			t.Errorf("%s has a pattern and no words for who breaks it", path)
		}
		if s.Type == TypeList && (s.Item == nil || s.Limit == 0) {
			t.Errorf("%s is a list of nothing, or without a bound", path)
		}
		if s.Type == TypeMap && (s.Item == nil || s.Keys == nil || s.Limit == 0) {
			t.Errorf("%s is a map of nothing, or without a bound", path)
		}
		for _, inner := range []*Shape{s.Keys, s.Item} {
			if inner != nil {
				check(t, path+"[]", *inner)
			}
		}
		for _, other := range s.Or {
			check(t, path, other)
		}
		fields(t, path, s.Fields)
	}
	fields = func(t *testing.T, path string, list []Field) {
		for _, f := range list {
			if !f.Later {
				check(t, path+"."+f.Name, f.Shape)
			}
		}
	}
	for _, p := range Parts() {
		fields(t, p.Name, p.Fields)
	}
}
