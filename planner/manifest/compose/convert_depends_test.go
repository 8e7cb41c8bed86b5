package compose

import "testing"

var dependsOnRows = []conversion{
	{name: "a list", file: "services: {web: {image: web:1, depends_on: [db, mq]}, db: {image: db:1}, mq: {image: mq:1}}", want: "{dependsOn: {db: started, mq: started}}"},
	{name: "healthy", file: "services: {web: {image: web:1, depends_on: {db: {condition: service_healthy}}}, db: {image: db:1, healthcheck: {test: ok}}}", want: "{dependsOn: {db: ready}}"},
	{name: "healthy, by what nobody knows", file: "services: {web: {image: web:1, depends_on: {db: {condition: service_healthy, restart: true}}}, db: {image: db:1}}",
		want: "{dependsOn: {db: ready}}", faults: []string{`~ depends_on.db: "db" has no healthcheck`, "~ depends_on.db.restart: has no effect"}},
	{name: "a link", file: "services: {web: {image: web:1, links: [db]}, db: {image: db:1}}", want: "{dependsOn: {db: started}}"},
	{name: "one that need not be", file: "services: {web: {image: web:1, depends_on: {db: {condition: service_started, required: false}}}, db: {image: db:1, profiles: [x]}}", want: "{dependsOn: null}", again: []string{"web.depends_on"}},
}

func TestDependsOn(t *testing.T) { testConversions(t, dependsOnRows) }

const onceBefore = "depends_on: {migrate: {condition: service_completed_successfully}}"

// What runs to its end before another service is a hook of it.
var hooksRows = []conversion{
	{name: "a hook", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:2, restart: 'no', entrypoint: [/app], command: [migrate], environment: [A=b], cpus: 1, depends_on: [db]}, db: {image: db:1}}",
		want: "{hooks: {preRollout: {image: 'web:2', command: [/app], args: [migrate], env: [{name: A, value: b}], resources: {limits: {cpu: '1'}}}}, dependsOn: {db: started}}", again: []string{"migrate.restart"}},
	{name: "a command for the image's entrypoint", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:1, command: migrate up}}",
		want: "{hooks: {preRollout: {image: 'web:1', args: [migrate, up]}}, dependsOn: null}"},
	{name: "a hook that would be tried again", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, restart: on-failure}}",
		want: "{hooks: {preRollout: {image: 'web:1', command: [x]}}}", faults: []string{"~ services.migrate.restart: has no effect"}},
	{name: "what the image runs", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:2}}", want: "{hooks: {preRollout: {image: 'web:2'}}}"},
	{name: "a word of ours", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:1, entrypoint: migrate, x-orpheus: {timeoutSeconds: 60}}}",
		want: "{hooks: {preRollout: {image: 'web:1', command: [migrate], timeoutSeconds: 60}}}"},
	{name: "two that wait", file: "services: {web: {image: web:1, " + onceBefore + "}, app: {image: web:1, " + onceBefore + "}, migrate: {image: web:1, entrypoint: x}}",
		faults: []string{`services.app.depends_on.migrate: has "migrate" run before app and web`}},
	{name: "one that waits, one that wants it to run", file: "services: {web: {image: web:1, " + onceBefore + "}, app: {image: web:1, depends_on: [migrate]}, migrate: {image: web:1, entrypoint: x}}",
		faults: []string{"depends_on.migrate: waits for the end of"}},
	{name: "two to wait for", file: "services: {web: {image: web:1, depends_on: {migrate: {condition: service_completed_successfully}, seed: {condition: service_completed_successfully}}}, migrate: {image: web:1, entrypoint: x}, seed: {image: web:1, entrypoint: x}}",
		faults: []string{"depends_on.seed: has a second service run before it"}},
	{name: "one after the other", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, depends_on: {create: {condition: service_completed_successfully}}}, create: {image: web:1, entrypoint: x}}",
		faults: []string{`services.migrate.depends_on.create: has "create" run before what itself`}},
	{name: "what a hook has from its service", file: "services: {web: {image: web:1, working_dir: /a, " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, user: root, ports: ['1:1']}}",
		faults: []string{"services.migrate.working_dir: differs", "services.migrate.user: differs", "services.migrate.ports: is not possible"}},
	{name: "an init of both", file: "services: {web: {image: web:1, init: true, " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, init: true}}",
		want: "{init: true, hooks: {preRollout: {image: 'web:1', command: [x]}}}", again: []string{"migrate.init"}},
	{name: "an init of the hook alone", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, init: true}}",
		want: "{init: null}", faults: []string{"~ services.migrate.init: is not kept"}},
	{name: "files of both", file: "services: {web: {image: web:1, configs: [c], " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, configs: [c]}}\nconfigs: {c: {content: x}}",
		want: "{hooks: {preRollout: {image: 'web:1', command: [x], volumeMounts: [{name: config-c, mountPath: /c}]}}, volumes: [{name: config-c, file: shop/.compose/shop/configs.c}]}"},
	{name: "files of its own", file: "services: {web: {image: web:1, configs: [d], " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, configs: [c]}}\nconfigs: {c: {content: x}, d: {content: y}}",
		want: "{hooks: {preRollout: {image: 'web:1', command: [x], volumeMounts: [{name: config-c, mountPath: /c}]}}, volumeMounts: [{name: config-d, mountPath: /d}]}"},
	{name: "files of one name", file: "services: {web: {image: web:1, volumes: ['./a/x:/x:ro'], " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, volumes: ['./b/x:/x:ro']}}",
		files: map[string]string{"shop/a/x": "a", "shop/b/x": "b"},
		want:  "{hooks: {preRollout: {image: 'web:1', command: [x], volumeMounts: [{name: x-2, mountPath: /x}]}}, volumes: [{name: x, file: shop/a/x}, {name: x-2, file: shop/b/x}]}"},
	{name: "files of its service alone", file: "services: {web: {image: web:1, tmpfs: [/t], " + onceBefore + "}, migrate: {image: web:1, entrypoint: x}}",
		want: "{hooks: {preRollout: {image: 'web:1', command: [x], volumeMounts: []}}}"},
	{name: "data", file: "services: {web: {image: web:1, " + onceBefore + "}, migrate: {image: web:1, entrypoint: x, volumes: ['data:/d']}}\nvolumes: {data: }",
		faults: []string{"services.migrate.volumes[0]: is not possible"}},
}

func TestHooks(t *testing.T) { testConversions(t, hooksRows) }

var extensionsRows = []conversion{
	{name: "what Compose cannot say", file: "deploy: {update_config: {parallelism: 2}}\nx-orpheus: {minReadySeconds: 30, update: {steps: [{slots: 1, pause: 10m}]}, readinessProbe: {httpGet: {path: /, port: 80}}}",
		want: "{minReadySeconds: 30, update: {order: stopFirst, maxUnavailable: 2, autoRevert: false, steps: [{slots: 1, pause: 10m}]}, readinessProbe: {httpGet: {path: /, port: 80}}}"},
	{name: "no object", file: "x-orpheus: [a]", faults: []string{"x-orpheus: must be an object"}},
	{name: "null takes away", file: "x-orpheus: {imagePorts: null}", want: "{imagePorts: null}"},
	{name: "other extensions are nothing", file: "x-anything: {a: b}\nhealthcheck: {test: ok, x-note: y}"},
	{name: "in the wrong place", file: "healthcheck: {test: ok, x-orpheus: {a: b}}", faults: []string{"~ healthcheck.x-orpheus: is not looked at here"}},
	{name: "unknown at the top", file: "services: {web: {image: web:1}}\nx-orpheus: {update: {}}", faults: []string{"/x-orpheus.update: is not known here"}},
	{name: "other parts of a file", file: "services: {web: {image: web:1}}\nmodels: {m: {model: x}}\njobs: {j: {image: x:1, triggers: {manual: true}}}", faults: []string{"/models: is not possible", "/jobs: is not possible"}},
}

func TestExtensions(t *testing.T) { testConversions(t, extensionsRows) }
