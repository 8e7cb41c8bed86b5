// Package manifest reads the manifests of one commit: an fs.FS of YAML in, a
// [planner.Desired] out, strictly, with every fault at once and each at its
// line and column.
//
// Data flows in one direction. The walk lists the YAML files below the fleet's
// folder. Each blob is parsed once into what it says whatever its path: the
// lint refuses the YAML that reads differently elsewhere, the decoder lays
// what is left over tables of fields, the rules check what no single field can
// know. Assembly then gives each document its path, reads the repository files
// it mounts, and compares the files with each other. A [Loader] remembers
// listings, documents and files by object id, so that a commit costs what it
// changed.
//
// A fleet with spec.base or spec.variables is put together first: layers finds
// the folders, heads what each document is about, merge lays those about one
// subject over each other, expand puts the variables in, and the decoder reads
// the result. [Render] shows it. So is a fleet with spec.compose: composefiles
// has what its Compose files say as documents, from package compose.
//
// A fault in one file holds back the services of that file and of no other.
// Only what makes the whole commit meaningless refuses it: see [RefusedError].
package manifest
