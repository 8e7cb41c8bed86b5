package manifest

import yaml "go.yaml.in/yaml/v3"

// Made is a document that something else than a reader of manifests made: it is
// written as others are. Nothing was checked in it.
func Made(kind, namespace, name string, root *yaml.Node) Document {
	return Document{Kind: kind, Namespace: namespace, Name: name, root: root}
}
