package compose

import "testing"

var securityRows = []conversion{
	{name: "a number", file: "user: '1000'", want: "{securityContext: {runAsUser: 1000}}"},
	{name: "numbers", file: "user: 1000:2000", want: "{securityContext: {runAsUser: 1000, runAsGroup: 2000}}"},
	{name: "a name", file: "user: node", want: "{securityContext: {runAsUserName: node}}"},
	{name: "names", file: "user: node:staff", want: "{securityContext: {runAsUserName: 'node:staff'}}"},
	{name: "a name and a number", file: "user: node:5", want: "{securityContext: {runAsUserName: node, runAsGroup: 5}}"},
	{name: "a number and a name", file: "user: 1000:staff", faults: []string{`user: "1000:staff" has a number and a name`}},
	{name: "no group", file: "user: '1000:'", faults: []string{"user: is no user"}},
	{name: "groups", file: "group_add: ['999', 20]", want: "{securityContext: {supplementalGroups: [999, 20]}}"},
	{name: "groups by name", file: "group_add: [docker]", faults: []string{`group_add[0]: "docker" is a name`}},
	{name: "capabilities", file: "cap_add: [NET_ADMIN]\ncap_drop: [ALL]", want: "{securityContext: {capabilities: {add: [NET_ADMIN], drop: [ALL]}}}"},
	{name: "flags", file: "privileged: true\nread_only: true", want: "{securityContext: {readOnlyRootFilesystem: true, privileged: true}}"},
	{name: "flags that are not set", file: "privileged: false\nread_only: false", want: "{securityContext: null}"},
	{name: "what is so anyway", file: "security_opt: ['no-new-privileges:true', no-new-privileges, no-new-privileges=true, 'label:disable']", want: "{securityContext: null}"},
	{name: "new privileges", file: "security_opt: ['no-new-privileges:false']", want: "{securityContext: {allowPrivilegeEscalation: true}}"},
	{name: "without protection", file: "security_opt: ['seccomp:unconfined', 'apparmor=docker-default', 'label:type:x', systempaths=unconfined]",
		faults: []string{"security_opt[0]: ", "security_opt[1]: ", "security_opt[2]: ", "security_opt[3]: "}},
	{name: "as it is anyway", file: "security_opt: ['apparmor:unconfined', 'label:disable']"},
	{name: "namespaces as they are", file: "ipc: private\ncgroup: private\nuserns_mode: host\nruntime: runc"},
	{name: "namespaces of the node", file: "ipc: host\npid: host\nuts: host\ncgroup: host\nuserns_mode: keep-id\nruntime: nvidia",
		faults: []string{"ipc: ", "pid: ", "uts: ", "cgroup: ", "userns_mode: ", "runtime: "}},
	{name: "devices", file: "devices: [/dev/ttyUSB0, '/dev/dri:/dev/dri', '/dev/fuse:/dev/fuse:rwm']", want: "{devices: [/dev/ttyUSB0, /dev/dri, /dev/fuse]}"},
	{name: "devices by other names", file: "devices: ['/dev/ttyUSB0:/dev/serial', 'vendor.com/class=gpu', '/dev/a:/dev/a:r']",
		faults: []string{"devices[0]: cannot have another name", "devices[1]: is no device", `~ devices[2]: permissions "r" are not kept`}},
	{name: "limits of processes", file: "ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 65535, core: 0, memlock: -1}",
		want: "{ulimits: [{name: core, soft: 0, hard: 0}, {name: memlock, soft: -1, hard: -1}, {name: nofile, soft: 1024, hard: 2048}, {name: nproc, soft: 65535, hard: 65535}]}"},
	{name: "parameters of the kernel", file: "sysctls: {net.core.somaxconn: 1024}", want: "{sysctls: [{name: net.core.somaxconn, value: '1024'}]}"},
	{name: "parameters in a list", file: "sysctls: [net.ipv4.tcp_syncookies=0]", want: "{sysctls: [{name: net.ipv4.tcp_syncookies, value: '0'}]}"},
	{name: "other keys of the machine", file: "cgroup_parent: x\nstorage_opt: {size: 1g}\nuse_api_socket: true\ndevice_cgroup_rules: ['c 1:3 mr']\nmac_address: '02:42:ac:11:65:43'",
		faults: []string{"cgroup_parent: ", "storage_opt: ", "use_api_socket: ", "device_cgroup_rules: ", "mac_address: "}},
}

func TestSecurity(t *testing.T) { testConversions(t, securityRows) }
