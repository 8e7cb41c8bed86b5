package compose

import (
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/compose-spec/compose-go/v2/types"
)

// dataFoldersRows are folders that a service writes to, and that the repository
// does not have.
var dataFoldersRows = []conversion{
	{name: "short", file: "volumes: ['./data/db:/var/lib/x']", want: "{volumes: [{name: data-db, local: {}}], volumeMounts: [{name: data-db, mountPath: /var/lib/x}]}",
		faults: []string{`~ volumes[0]: "./data/db" is not in the repository: it is taken for data`}},
	{name: "long", file: "volumes: [{type: bind, source: ../common/data/, target: /d, bind: {propagation: rprivate, create_host_path: true}}]",
		want: "{volumes: [{name: common-data, local: {}}], volumeMounts: [{name: common-data, mountPath: /d}]}", faults: []string{`~ volumes[0]: "../common/data" is not in the repository`}, again: []string{"web.volumes[].bind"}},
	{name: "where images have programs", file: "volumes: ['./html:/var/www/html']", want: "{volumes: [{name: html, local: {}}]}", faults: []string{"~ volumes[0]: is taken for data"}},
	{name: "names of folders with a dot", file: "volumes: ['./.data:/a', './conf.d:/b/x.d', './pg-16.2:/var/lib/postgresql@17']",
		want: "{volumes: [{name: data, local: {}}, {name: conf-d, local: {}}, {name: pg-16-2, local: {}}]}", faults: []string{`~ volumes[0]: "./.data"`, `~ volumes[1]: "./conf.d"`, `~ volumes[2]: "./pg-16.2"`}},
	{name: "one that Git is made to keep", file: "volumes: ['./data:/d', './log:/l']", files: map[string]string{"shop/data/.gitkeep": "", "shop/log/.gitignore": "*", "shop/log/.keep": ""},
		want: "{volumes: [{name: data, local: {}}, {name: log, local: {}}]}", faults: []string{"~ volumes[0]: is taken for data", "~ volumes[1]: is taken for data"}},
	{name: "one that has something", file: "volumes: ['./data:/d']", files: map[string]string{"shop/data/.gitkeep": "", "shop/data/x": ""},
		want: "{volumes: [{name: d, emptyDir: {}}, {name: gitkeep, file: shop/data/.gitkeep}, {name: x, file: shop/data/x}]}", faults: []string{"~ volumes[0]: comes from the repository"}},
	{name: "one that has a folder", file: "volumes: ['./data:/d']", files: map[string]string{"shop/data/sub/.gitkeep": ""},
		want: "{volumes: [{name: d, emptyDir: {}}, {name: gitkeep, file: shop/data/sub/.gitkeep}]}", faults: []string{"~ volumes[0]: comes from the repository"}},
	{name: "twice", file: "volumes: ['./data:/a', './data/:/b']", want: "{volumes: [{name: data, local: {}}], volumeMounts: [{name: data, mountPath: /a}, {name: data, mountPath: /b}]}",
		faults: []string{"~ volumes[0]: is taken for data", "~ volumes[1]: is taken for data"}},
	// Its name is its own, whatever else is mounted, and where.
	{name: "beside what would have its name", file: "volumes: ['./conf:/data:ro', './data:/x', './shm:/y']\nshm_size: 1gb", files: map[string]string{"shop/conf/a": "1"},
		want: `{volumes: [{name: data-2, emptyDir: {}}, {name: a, file: shop/conf/a}, {name: data, local: {}}, {name: shm, local: {}}, {name: shm-2, emptyDir: {medium: Memory, sizeLimit: 1Gi}}],
			volumeMounts: [{name: data-2, mountPath: /data}, {name: a, mountPath: /data/a}, {name: data, mountPath: /x}, {name: shm, mountPath: /y}, {name: shm-2, mountPath: /dev/shm}]}`,
		faults: []string{"~ volumes[1]: is taken for data", "~ volumes[2]: is taken for data"}},
	{name: "two that would have one name", file: "volumes: ['./a-b:/1', './a/b:/2']",
		faults: []string{"~ volumes[0]: is taken for data", "~ volumes[1]: is taken for data", "volumes[0]: would have one name", "volumes[1]: would have one name"}},
	{name: "the name of a volume", file: "services: {web: {image: web:1, volumes: ['data:/1', './data:/2']}}\nvolumes: {data: }",
		faults: []string{"~ volumes[1]: is taken for data", "volumes[0]: would have one name", "volumes[1]: would have one name"}},
	{name: "the name of another service's volume", file: "services: {web: {image: web:1, volumes: ['./data:/2']}, app: {image: app:1, volumes: ['data:/1']}}\nvolumes: {data: }",
		want: "{volumes: [{name: data, local: {}}]}", faults: []string{"~ volumes[0]: is taken for data"}},
	{name: "of two services", file: "services: {web: {image: web:1, volumes: ['./data:/d']}, app: {image: app:1, volumes: ['./data:/d']}}",
		faults: []string{"~ volumes[0]: is taken for data", "~ services.app.volumes[0]: is taken for data", `volumes[0]: volume "./data" is mounted by service "app" too`}},
	{name: "within another service's", file: "services: {web: {image: web:1, volumes: ['./data:/d']}, app: {image: app:1, volumes: ['./data/a/b:/d', './data-c:/c']}}",
		faults: []string{"~ volumes[0]: is taken for data", `services.app.volumes[0]: "./data/a/b" is not in the repository, and within "./data", which service "web" mounts`, "~ services.app.volumes[1]: is taken for data"}},
	{name: "within another", file: "volumes: ['./data/x:/x', './data:/d']", faults: []string{"~ volumes[1]: is taken for data", `volumes[0]: within "./data", which service "web" mounts`}},
	{name: "read by another service", file: "services: {web: {image: web:1, volumes: ['./data:/d']}, app: {image: app:1, volumes: ['./data:/d:ro']}}", files: map[string]string{"shop/data/.gitkeep": ""},
		faults: []string{"~ volumes[0]: is taken for data", `services.app.volumes[0]: holds no files, and service "web" writes its data there`}},
	{name: "of what runs before a service", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:2, volumes: ['./data:/d']}}",
		faults: []string{"~ services.migrate.volumes[0]: is taken for data", "services.migrate.volumes[0]: sees none of its data"}},
	{name: "with replicas", file: "volumes: ['./data:/d']\nscale: 2", want: "{replicas: 2, volumes: [{name: data, local: {}}]}", faults: []string{"~ volumes[0]: the slot's node"}},
}

func TestDataFolders(t *testing.T) { testConversions(t, dataFoldersRows) }

// filesThatAreMissingRows are mounts of what the repository does not have, and
// that may not be folders for data.
var filesThatAreMissingRows = []conversion{
	{name: "a file by its name", file: "volumes: ['./nginx.conf:/etc/nginx']", faults: []string{"volumes[0]: does not exist"}},
	{name: "a file by where it is mounted", file: "volumes: ['./x:/etc/x/x.yml', './y:/run/x.sock']", faults: []string{"volumes[0]: does not exist", "volumes[1]: does not exist"}},
	{name: "files without extension", file: "volumes: ['./Caddyfile:/etc/caddy/Caddyfile', './.env:/app/env', './p:/etc/passwd', './.x.yml:/x']",
		faults: []string{"volumes[0]: does not exist", "volumes[1]: does not exist", "volumes[2]: does not exist", "volumes[3]: does not exist"}},
	{name: "read-only", file: "volumes: ['./conf:/conf:ro']", faults: []string{"volumes[0]: does not exist"}},
	{name: "not to be made", file: "volumes: [{type: bind, source: ./data, target: /d, bind: {create_host_path: false}}]", faults: []string{"volumes[0]: does not exist"}},
	{name: "shared with the node", file: "volumes: ['./data:/d:rshared']", faults: []string{`volumes[0]: propagation "rshared" is not possible`, "volumes[0]: does not exist"}},
	{name: "out of the repository", file: "volumes: ['../../data:/d']", faults: []string{"volumes[0]: leaves the repository"}},
	{name: "in a home folder", file: "volumes: ['~/data:/d']", faults: []string{"volumes[0]: is not in the repository"}},
	{name: "below a file", file: "volumes: ['./file/data:/d']", files: map[string]string{"shop/file": "x"}, faults: []string{"volumes[0]: does not exist"}},
	{name: "without a name that can be a volume's", file: "volumes: ['./数据:/d']", faults: []string{"volumes[0]: does not exist"}},
}

func TestFilesThatAreMissing(t *testing.T) { testConversions(t, filesThatAreMissingRows) }

// That nothing is at a data folder is noted, so that a commit that has something
// there counts; what a link leads to is no data folder.
func TestDataFoldersAreNoted(t *testing.T) {
	files := fstest.MapFS{"shop/link": {Data: []byte("data"), Mode: fs.ModeSymlink | 0o777}, "shop/kept/.gitkeep": {}}
	service := types.ServiceConfig{Name: "web"}
	service.Image = "web:1"
	for _, source := range []string{"data/db", "kept", "link", "link/x"} {
		service.Volumes = append(service.Volumes, types.ServiceVolumeConfig{Type: types.VolumeTypeBind, Source: source, Target: "/" + source})
	}
	p := &Project{Name: "shop", Types: &types.Project{Services: types.Services{"web": service}}, Files: files, Folder: "shop"}
	_, faults := Convert(p)
	refused := 0
	for _, f := range faults {
		if !f.Warning {
			refused++
		}
	}
	if refused != 2 || len(faults) != 4 {
		t.Errorf("faults are %v", faults)
	}
	for _, want := range []Read{{Path: "shop/data/db", Gone: true}, {Path: "shop/kept", Mode: fs.ModeDir | 0o555}} {
		if !slices.Contains(p.Reads, want) {
			t.Errorf("reads are %+v, want %+v among them", p.Reads, want)
		}
	}
	if service.Volumes[0].Type != types.VolumeTypeBind {
		t.Error("the project was changed")
	}
}
