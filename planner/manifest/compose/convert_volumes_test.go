package compose

import (
	"testing"
)

var volumesRows = []conversion{
	{name: "named", file: "services: {web: {image: web:1, volumes: ['my_data:/data', 'logs:/logs:ro']}}\nvolumes: {my_data: , logs: {driver: local, name: x, labels: {a: b}}}",
		want: "{volumes: [{name: my-data, local: {}}, {name: logs, local: {}}], volumeMounts: [{name: my-data, mountPath: /data}, {name: logs, mountPath: /logs, readOnly: true}]}"},
	// Docker copies what the image has into a new volume; nothing does so here.
	{name: "named where images have programs", file: "services: {web: {image: web:1, volumes: ['code:/var/www/html']}}\nvolumes: {code: }",
		faults: []string{"~ volumes[0]: begins empty"}},
	{name: "named, not to be copied to", file: "services: {web: {image: web:1, volumes: ['code:/var/www/html:nocopy']}}\nvolumes: {code: }"},
	{name: "shared", file: "services: {web: {image: web:1, volumes: ['data:/d']}, app: {image: app:1, volumes: ['data:/d:ro']}}\nvolumes: {data: }",
		faults: []string{`volumes[0]: volume "data" is mounted by service "app" too`}},
	{name: "external", file: "services: {web: {image: web:1, volumes: ['data:/d']}}\nvolumes: {data: {external: true}}", faults: []string{"/volumes.data.external: is not possible"}},
	{name: "other storage", file: "services: {web: {image: web:1, volumes: ['data:/d', 'other:/e']}}\nvolumes: {data: {driver: rexray}, other: {driver_opts: {type: nfs, o: 'addr=10.0.0.1', device: ':/x'}}}",
		faults: []string{`/volumes.data.driver: "rexray" is not possible`, "/volumes.other.driver_opts: is not possible"}},
	{name: "external, and of nobody", file: "services: {web: {image: web:1}}\nvolumes: {data: {external: true}}"},
	{name: "without a name", file: "volumes: [/data]", faults: []string{"volumes[0]: has no name: what is in it"}},
	{name: "without a name, where the program is", file: "volumes: [/app/node_modules]", want: "{}", faults: []string{"~ volumes[0]: has no name, and is left out"}},
	{name: "the same below a mount, which hides the image's", file: "services: {web: {image: web:1, volumes: ['data:/app:nocopy', /app/node_modules]}}\nvolumes: {data: }", faults: []string{"volumes[1]: has no name: what is in it"}},
	{name: "the same where nothing can be written", file: "read_only: true\nvolumes: [/app/node_modules]", faults: []string{"volumes[0]: has no name: what is in it"}},
	{name: "two that would have one name", file: "services: {web: {image: web:1, volumes: ['a_b:/1', 'a-b:/2']}}\nvolumes: {a_b: , a-b: }",
		faults: []string{"volumes[0]: would have one name", "volumes[1]: would have one name"}},
	{name: "part of one", file: "services: {web: {image: web:1, volumes: [{type: volume, source: data, target: /d, volume: {subpath: x}}]}}\nvolumes: {data: }",
		faults: []string{"volumes[0].volume.subpath: is not possible"}},
	{name: "options nobody knows", file: "services: {web: {image: web:1, volumes: ['data:/d:ro,foo']}}\nvolumes: {data: }", faults: []string{`volumes[0]: option "foo" is not known`}},
	// Who reads it takes the letter for a drive of Windows.
	{name: "of one letter", file: "services: {web: {image: web:1, volumes: ['d:/d', 'e:/e:ro']}}\nvolumes: {d: , e: }",
		faults: []string{"volumes[0]: is read as a path of Windows", "volumes[1]: is read as a path of Windows"}},
	{name: "of an image", file: "volumes: [{type: image, source: data:1, target: /d}]", faults: []string{`volumes[0]: type "image" is not possible`}},
	{name: "from another", file: "services: {web: {image: web:1, volumes_from: [app]}, app: {image: app:1}}", faults: []string{"volumes_from: is not possible"}},
}

func TestVolumes(t *testing.T) { testConversions(t, volumesRows) }

var bindMountsRows = []conversion{
	{name: "a file of the repository", file: "volumes: ['./nginx.conf:/etc/nginx/nginx.conf:ro,z']", files: map[string]string{"shop/nginx.conf": "x"},
		want: "{volumes: [{name: nginx-conf, file: shop/nginx.conf}], volumeMounts: [{name: nginx-conf, mountPath: /etc/nginx/nginx.conf}]}"},
	{name: "one that is written to", file: "volumes: ['../common/x:/x']", files: map[string]string{"common/x": "x"},
		want: "{volumes: [{name: x, file: common/x}]}", faults: []string{`~ volumes[0]: "../common/x" comes from the repository`}},
	// The folder hides what the image has there, as with Docker.
	{name: "a folder of the repository", file: "volumes: ['./conf.d:/etc/nginx/conf.d:ro']", files: map[string]string{"shop/conf.d/a.conf": "a", "shop/conf.d/sub/b.conf": "b"},
		want: `{volumes: [{name: conf-d, emptyDir: {}}, {name: a-conf, file: shop/conf.d/a.conf}, {name: b-conf, file: shop/conf.d/sub/b.conf}],
			volumeMounts: [{name: conf-d, mountPath: /etc/nginx/conf.d}, {name: a-conf, mountPath: /etc/nginx/conf.d/a.conf}, {name: b-conf, mountPath: /etc/nginx/conf.d/sub/b.conf}]}`},
	{name: "files of one name", file: "volumes: ['./a/x:/a/x:ro', './b/x:/b/x:ro']", files: map[string]string{"shop/a/x": "1", "shop/b/x": "2"},
		want: "{volumes: [{name: x, file: shop/a/x}, {name: x-2, file: shop/b/x}]}"},
	{name: "missing", file: "volumes: ['./data:/data:ro']", faults: []string{`volumes[0]: "data" does not exist in the repository`}},
	{name: "out of the repository", file: "volumes: ['../../etc/passwd:/x:ro']", faults: []string{"volumes[0]: leaves the repository"}},
	{name: "home", file: "volumes: ['~/x:/x:ro']", faults: []string{"volumes[0]: is not in the repository"}},
	{name: "a folder of many files", file: "volumes: ['.:/app']", files: manyFiles(60), faults: []string{"volumes[0]: is a folder of more than 48 files"}},
	{name: "a script that is the program", file: "volumes: ['./run.sh:/run.sh:ro']\nentrypoint: [/run.sh]", files: map[string]string{"shop/run.sh*": "x"},
		faults: []string{`volumes[0]: "/run.sh" is run as a program`}},
	{name: "a script", file: "volumes: ['./init.sh:/docker-entrypoint-initdb.d/init.sh:ro']", files: map[string]string{"shop/init.sh*": "x"},
		faults: []string{`~ volumes[0]: "/docker-entrypoint-initdb.d/init.sh" is mounted without its executable bit`}},
	{name: "the whole disk of the node", file: "volumes: ['/:/rootfs:ro']", faults: []string{"~ volumes[0]: is the whole disk of the node"}},
	{name: "a path of the node", file: "volumes: ['/mnt/media:/media:ro']", want: "{volumes: [{name: media, hostPath: {path: /mnt/media}}], volumeMounts: [{name: media, mountPath: /media, readOnly: true}]}"},
	{name: "the long form", file: "volumes: [{type: bind, source: /mnt, target: /m, read_only: true, consistency: cached, bind: {create_host_path: true, selinux: Z, propagation: rprivate}}]",
		want: "{volumes: [{name: mnt, hostPath: {path: /mnt}}]}", again: []string{"web.volumes[].bind"}},
	{name: "Docker's socket", file: "volumes: ['/var/run/docker.sock:/var/run/docker.sock']", faults: []string{"~ volumes[0]: is Docker's"}},
	{name: "propagation", file: "volumes: ['/mnt:/mnt:rshared']", faults: []string{`volumes[0]: propagation "rshared" is not possible`}},
}

func TestBindMounts(t *testing.T) { testConversions(t, bindMountsRows) }

func manyFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files["shop/f"+string(rune('a'+i%26))+string(rune('a'+i/26))] = "x"
	}
	return files
}

var memoryVolumesRows = []conversion{
	{name: "short", file: "tmpfs: ['/run:size=64m,mode=1777,noexec', /tmp]",
		want: `{volumes: [{name: run, emptyDir: {medium: Memory, sizeLimit: 64Mi}}, {name: tmp, emptyDir: {medium: Memory}}],
			volumeMounts: [{name: run, mountPath: /run}, {name: tmp, mountPath: /tmp}]}`},
	{name: "stricter than it will be", file: "tmpfs: '/run:mode=700,uid=1000'", faults: []string{`~ tmpfs: mode "700" is not kept`, `~ tmpfs: "uid=1000" is not kept`}},
	{name: "programs in memory", file: "tmpfs: ['/run:exec']", faults: []string{`tmpfs[0]: option "exec" is not possible`}},
	{name: "long", file: "volumes: [{type: tmpfs, target: /cache, tmpfs: {size: 1048576, mode: 0o700}}]",
		want: "{volumes: [{name: cache, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]}", faults: []string{"~ volumes[0].tmpfs.mode: 0700 is not kept"}},
	{name: "shared memory", file: "shm_size: 1gb", want: "{volumes: [{name: shm, emptyDir: {medium: Memory, sizeLimit: 1Gi}}], volumeMounts: [{name: shm, mountPath: /dev/shm}]}"},
}

func TestMemoryVolumes(t *testing.T) { testConversions(t, memoryVolumesRows) }

var configsAndSecretsRows = []conversion{
	{name: "configs", file: "services: {web: {image: web:1, configs: [a, {source: b, target: /etc/b}]}}\nconfigs: {a: {file: ./a.conf}, b: {content: hello}}",
		files: map[string]string{"shop/a.conf": "x"},
		want: `{volumes: [{name: config-a, file: shop/a.conf}, {name: config-b, file: shop/.compose/shop/configs.b}],
			volumeMounts: [{name: config-a, mountPath: /a}, {name: config-b, mountPath: /etc/b}]}`},
	{name: "a config from a variable of the fleet", file: "services: {web: {image: web:1, configs: [a]}}\nconfigs: {a: {environment: FROM_FLEET}}",
		want: "{volumes: [{name: config-a, file: shop/.compose/shop/configs.a}]}"},
	{name: "a config from no variable", file: "services: {web: {image: web:1, configs: [a]}}\nconfigs: {a: {environment: HOME}}", faults: []string{`/configs.a.environment: names "HOME"`}},
	{name: "owner and mode", file: "services: {web: {image: web:1, configs: [{source: a, uid: '1', gid: '0', mode: 0o400}, {source: b, mode: 0o555, target: /b}]}}\nconfigs: {a: {content: x}, b: {content: x}}",
		faults: []string{"~ configs[0].uid: is not kept", "~ configs[0].mode: 0400 is not kept", "configs[1].mode: 0555 is not possible"}},
	{name: "secrets", file: "services: {web: {image: web:1, secrets: [a, {source: a, target: b}]}}\nsecrets: {a: {file: ./a.txt}}", files: map[string]string{"shop/a.txt": "x"},
		want: `{volumes: [{name: secret-a, file: shop/a.txt}, {name: secret-a-2, file: shop/a.txt}],
			volumeMounts: [{name: secret-a, mountPath: /run/secrets/a}, {name: secret-a-2, mountPath: /run/secrets/b}]}`,
		faults: []string{"~ /secrets.a.file: is no secret"}},
	{name: "secrets that there are not", file: "services: {web: {image: web:1, secrets: [a, b, c]}}\nsecrets: {a: {external: true}, b: {environment: HOME}, c: {file: ./c}}",
		faults: []string{"/secrets.a.external: is not possible", "/secrets.b.environment: is not possible", `/secrets.c.file: "c" does not exist`}},
	{name: "secrets of nobody", file: "services: {web: {image: web:1}}\nsecrets: {a: {external: true}}"},
	{name: "templates", file: "services: {web: {image: web:1, configs: [a]}}\nconfigs: {a: {content: x, template_driver: golang}}", faults: []string{"/configs.a.template_driver: is not possible"}},
}

func TestConfigsAndSecrets(t *testing.T) { testConversions(t, configsAndSecretsRows) }
