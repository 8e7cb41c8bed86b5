package kubernetes

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// configFile is a file that a ConfigMap gives.
type configFile struct {
	source string // ConfigMap and key
	path   string // below the mount
	inRepo string
	data   []byte
	from   value
	key    string
}

// configFiles mounts the files of ConfigMaps: one volume for each, with the
// file in the repository.
func (vs *volumes) configFiles(m, v value, sources []value) list {
	m.at("readOnly").truth()
	var files []configFile
	for _, s := range sources {
		files = append(files, vs.filesOf(s, v)...)
	}
	v.at("configMap", "defaultMode").mode()
	v.at("projected", "defaultMode").mode()
	part, at := path.Clean("/" + m.at("subPath").text())[1:], m.at("mountPath").text()
	var all list
	for _, f := range files {
		below := f.path
		if part != "" {
			if f.path != part && !strings.HasPrefix(f.path, part+"/") {
				continue
			}
			below = strings.TrimPrefix(strings.TrimPrefix(f.path, part), "/")
		}
		name := vs.volume("file\x00"+f.source, m.at("name").text()+"-"+f.key, v, func(o *object) {
			o.Put("file", f.inRepo, f.from)
			vs.contents[f.inRepo] = f.data
		})
		all = append(all, item(object{member("name", name, m), member("mountPath", path.Join(at, below), m.at("mountPath"))}, m))
	}
	switch {
	case part != "" && len(all) == 0 && len(files) > 0:
		m.at("subPath").failed("no ConfigMap of the volume has such a key", "")
	case part == "" && len(all) > 0:
		m.at("mountPath").hint("its files are mounted one by one: what else the image has in this folder stays there", "see whether the image has files there, and mount over those that are not wanted")
	}
	return all
}

// mode reads the mode of a file, which is 0444 here.
func (v value) mode() {
	switch n, ok := v.number(); {
	case !ok, n == 0o644, n == 0o444:
	case n&0o111 != 0:
		v.failed("files of the repository are mounted with mode 0444: none can be run by its name", "have a shell run it: command: [sh, FILE]")
	default:
		v.lost("files of the repository are mounted with mode 0444", "")
	}
}

// filesOf are the files that one source of a volume gives.
func (vs *volumes) filesOf(s, volume value) []configFile {
	ref := s
	if volume.at("projected").given() {
		ref = s.at("configMap")
		if secret := s.at("secret"); secret.given() {
			vs.secret(secret, "the files of Secret "+quote(secret.at("name").text()))
			return nil
		}
		if !ref.given() {
			for _, f := range s.fields() {
				f.failed("is not in this version", "have the program do without")
			}
			return nil
		}
	}
	data, found := vs.mapNamed(ref)
	if !found {
		return nil
	}
	binary := data.r.value(vs.converter).at("binaryData")
	type pick struct {
		key, path string
		from      value
	}
	var picks []pick
	for _, i := range ref.at("items").items() {
		i.at("mode").mode()
		picks = append(picks, pick{i.at("key").text(), path.Clean("/" + i.at("path").text())[1:], i})
	}
	if !ref.at("items").given() {
		for _, each := range slices.Concat(data.fields(), binary.fields()) {
			picks = append(picks, pick{each.key, each.key, each})
		}
		slices.SortStableFunc(picks, func(a, b pick) int { return strings.Compare(a.key, b.key) })
	}
	var files []configFile
	for _, p := range picks {
		text, ok := content(data, binary, p.key)
		if !ok {
			p.from.failed("ConfigMap "+quote(data.r.name)+" has no key "+quote(p.key)+" that can be read", "")
			continue
		}
		files = append(files, configFile{source: data.r.name + "/" + p.key, path: p.path, key: p.key,
			inRepo: vs.repositoryPath(data.r.name, p.key), data: text, from: p.from})
	}
	return files
}

// repositoryPath is where the file of a key is put. A name that a manifest
// could have gets another ending.
func (vs *volumes) repositoryPath(configMap, key string) string {
	source := configMap + "/" + key
	if known, ok := vs.paths[source]; ok {
		return known
	}
	dir := fileName(vs.name)
	if vs.namespace != planner.DefaultNamespace {
		dir = path.Join(fileName(vs.namespace), dir)
	}
	base, ending := fileName(key), ""
	if lower := strings.ToLower(base); strings.HasSuffix(lower, ".yaml") || strings.HasSuffix(lower, ".yml") {
		ending = ".txt"
	}
	free := path.Join(vs.files, dir, fileName(configMap), base+ending)
	for i := int64(2); vs.takenPath(free); i++ {
		free = path.Join(vs.files, dir, fileName(configMap), base+"-"+int64Text(i)+cmp.Or(ending, ".txt"))
	}
	vs.paths[source] = free
	return free
}

// takenPath reports whether a file has the path, or one that some file systems
// take for the same.
func (vs *volumes) takenPath(name string) bool {
	for _, other := range vs.paths {
		if strings.EqualFold(other, name) {
			return true
		}
	}
	return false
}

// fileName is a name that every file system takes, near to name.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && !strings.ContainsRune(`/\:*?"<>|`, r) {
			return r
		}
		return '-'
	}, name)
	return cmp.Or(strings.Trim(name, "."), "file")
}
