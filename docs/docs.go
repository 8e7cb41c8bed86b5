// Package docs holds those pages of the documentation that the program itself
// reads: what people are told on a command line or in an editor is what stands
// here.
package docs

import _ "embed"

// Manifest is manifest.md, whose tables describe every field of a manifest.
//
//go:embed manifest.md
var Manifest string
