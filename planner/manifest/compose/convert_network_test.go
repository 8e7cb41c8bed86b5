package compose

import "testing"

var portsRows = []conversion{
	{name: "published", file: "ports: ['8080:80', '53:53/udp']",
		want: "{ports: [{containerPort: 80, port: 80, publish: 8080}, {containerPort: 53, protocol: UDP, port: 53, publish: 53}]}"},
	{name: "ranges are one each", file: "ports: ['8000-8001:9000-9001']",
		want: "{ports: [{containerPort: 9000, port: 9000, publish: 8000}, {containerPort: 9001, port: 9001, publish: 8001}]}"},
	{name: "an address", file: "ports: ['127.0.0.1:8080:80']", want: "{ports: [{containerPort: 80, port: 80, publish: {port: 8080, address: 127.0.0.1, mode: node}}]}"},
	{name: "all addresses", file: "ports: ['0.0.0.0:8080:80', '[::]:8080:80']", want: "{ports: [{containerPort: 80, port: 80, publish: 8080}]}", again: []string{"web.ports[]"}},
	{name: "the long form", file: "ports: [{target: 80, published: '8080', mode: host, name: http, app_protocol: http}]",
		want: "{ports: [{name: http, containerPort: 80, port: 80, publish: {port: 8080, mode: node}}]}"},
	{name: "the long form with an address", file: "ports: [{target: 80, published: 8080, host_ip: 10.0.0.1}]",
		want: "{ports: [{containerPort: 80, port: 80, publish: {port: 8080, address: 10.0.0.1, mode: node}}]}"},
	// Docker would choose any port of the node.
	{name: "no port of the node", file: "ports: [80]", faults: []string{"~ ports[0]: is open to the services of the fleet alone, as web:80"}, want: "{ports: [{containerPort: 80, port: 80}]}"},
	{name: "a range to choose from", file: "ports: [{target: 80, published: 8000-8010}]", faults: []string{"ports[0]: leaves the choice"}},
	{name: "several ports of the nodes", file: "ports: ['8080:80', '127.0.0.1:8081:80', '8080:80/tcp', {target: 80, published: 8082, mode: host, name: http}]",
		want: "{ports: [{containerPort: 80, port: 80, publish: [8080, {port: 8081, address: 127.0.0.1, mode: node}, {port: 8082, mode: node}], name: http}]}", again: []string{"web.ports[]"}},
	{name: "two names", file: "ports: [{target: 80, published: 8080, name: a}, {target: 80, published: 8081, name: b}]",
		want: "{ports: [{name: a, containerPort: 80, port: 80, publish: [8080, 8081]}]}", faults: []string{"~ ports[1]: is called a, as before"}},
	{name: "two addresses", file: "ports: ['10.0.0.1:80:80', '127.0.0.1:80:80']",
		want: "{ports: [{containerPort: 80, port: 80, publish: [{port: 80, address: 10.0.0.1, mode: node}, {port: 80, address: 127.0.0.1, mode: node}]}]}"},
	{name: "one of any number and one of a number", file: "ports: ['80', '8080:80']", want: "{ports: [{containerPort: 80, port: 80, publish: 8080}]}", faults: []string{"~ ports[0]: is open to the services of the fleet alone"}, again: []string{"web.ports[]"}},
	{name: "another protocol", file: "ports: ['80:80/sctp']", faults: []string{`ports[0]: protocol "sctp"`}},
	{name: "faults after a range name their item", file: "ports: ['8000-8002:9000-9002', '1-2:80']", faults: []string{`ports[1]: "1-2" leaves the choice of a port to the node`}},
	{name: "exposed", file: "expose: ['3000', 4000-4001, 53/udp]",
		want: "{ports: [{containerPort: 3000, port: 3000}, {containerPort: 4000, port: 4000}, {containerPort: 4001, port: 4001}, {containerPort: 53, protocol: UDP, port: 53}]}"},
	{name: "exposed and published", file: "expose: ['80']\nports: ['8080:80']", want: "{ports: [{containerPort: 80, port: 80, publish: 8080}]}", again: []string{"web.expose"}},
	{name: "exposed badly", file: "expose: [http]", faults: []string{"expose[0]: is no port"}},
}

func TestPorts(t *testing.T) { testConversions(t, portsRows) }

// What others name behind the name of a service is one of its ports.
var portsThatOthersAskForRows = []conversion{
	{name: "in an environment", file: "services: {web: {image: web:1}, app: {image: app:1, environment: [URL=http://web:3000/x, 'B=web:4000,WEB:5000']}}",
		want: "{ports: [{containerPort: 3000, port: 3000}, {containerPort: 4000, port: 4000}, {containerPort: 5000, port: 5000}]}"},
	{name: "in commands and checks", file: "services: {web: {image: web:1}, app: {image: app:1, entrypoint: [wait, 'web:1'], command: [--to, 'x@web:2/db'], healthcheck: {test: nc web:3}}}",
		want: "{ports: [{containerPort: 1, port: 1}, {containerPort: 2, port: 2}, {containerPort: 3, port: 3}]}"},
	{name: "in a file", file: "services: {web: {image: web:1}, proxy: {image: proxy:1, volumes: ['./p.conf:/p.conf:ro']}}",
		files: map[string]string{"shop/p.conf": "upstream { server web:8080; }"}, want: "{ports: [{containerPort: 8080, port: 8080}]}"},
	{name: "in a config", file: "services: {web: {image: web:1}, proxy: {image: proxy:1, configs: [p]}}\nconfigs: {p: {content: 'to web:8080'}}",
		want: "{ports: [{containerPort: 8080, port: 8080}]}"},
	{name: "behind an alias", file: "services: {web: {image: web:1, container_name: front}, app: {image: app:1, environment: [URL=front:3000]}}",
		want: "{aliases: [front], ports: [{containerPort: 3000, port: 3000}]}"},
	{name: "what is no port", file: "services: {web: {image: web:1}, app: {image: app:1, environment: ['A=web:7.2-alpine', 'B=myweb:80', 'C=web:123456', 'D=web:0']}}",
		want: "{ports: null}"},
}

func TestPortsThatOthersAskFor(t *testing.T) { testConversions(t, portsThatOthersAskForRows) }

var namesRows = []conversion{
	{name: "aliases from three places", file: `
services:
  web: {image: web:1, container_name: Front, networks: {a: {aliases: [www, web]}}}
  app: {image: app:1, links: ["web:shop"], networks: [a]}
networks: {a: }
`, want: "{aliases: [front, www, shop]}", again: []string{"web.networks.*.aliases[]"}},
	{name: "aliases with an underscore", file: "services: {web: {image: web:1, container_name: My_Web}, app: {image: app:1, links: ['web:the_web']}}", want: "{aliases: [my_web, the_web]}"},
	{name: "an alias that cannot be and is not used", file: "container_name: my.web", faults: []string{`~ container_name: "my.web" is left out`}},
	{name: "an alias that cannot be and is used", file: "services: {web: {image: web:1, container_name: my.web}, app: {image: app:1, environment: [URL=http://my.web/]}}",
		faults: []string{`container_name: "my.web" cannot be a name`}},
	{name: "an alias that ends in an underscore", file: "container_name: web_", faults: []string{`~ container_name: "web_" is left out`}},
	{name: "capitals are nothing to a name server", file: "services: {Web: {image: web:1}}"},
	{name: "an underscore", file: "services: {my_web: {image: web:1}}", faults: []string{"~ services.my_web: is called my-web here; my_web leads there too"}},
	{name: "an underscore and capitals", file: "services: {My_Web: {image: web:1}}", faults: []string{"~ services.My_Web: is called my-web here; my_web leads there too"}},
	{name: "an underscore, on the network of the node", file: "services: {my_web: {image: web:1, network_mode: host}}", faults: []string{"~ services.my_web: is called my-web here: a"}},
	{name: "an underscore at the end", file: "services: {web_: {image: web:1}}", faults: []string{"services.web_: is no name for a service"}},
	{name: "a dot", file: "services: {web.v2: {image: web:1}}", faults: []string{"services.web.v2: is no name for a service"}},
	{name: "an underscore and a hyphen", file: "services: {a-b: {image: web:1}, a_b: {image: web:1}}", faults: []string{"services.a_b: has the name of service a-b, a-b", "~ services.a_b: is called a-b"}},
	{name: "others name one with an underscore", file: "services: {web: {image: web:1, links: [my_db], depends_on: {the_queue: {condition: service_healthy}}}, my_db: {image: db:1}, the_queue: {image: mq:1, healthcheck: {test: ok}}}",
		want: "{dependsOn: {my-db: started, the-queue: ready}}", faults: []string{"~ services.my_db: is called", "~ services.the_queue: is called"}},
	{name: "a hook with an underscore has no name", file: "services: {web: {image: web:1, depends_on: {db_migrate: {condition: service_completed_successfully}}}, db_migrate: {image: web:1, entrypoint: x}}", want: "{hooks: {preRollout: {image: web:1, command: [x]}}}"},
	{name: "names that differ in case", file: "services: {web: {image: web:1}, WEB: {image: web:1}}", faults: []string{"services.web: has the name of service WEB"}},
	{name: "host name", file: "hostname: Front", want: "{hostname: front}"},
	{name: "host name with a domain", file: "hostname: mail.example.com", faults: []string{"hostname: has a dot"}},
	{name: "domain name", file: "domainname: example.com", faults: []string{"domainname: is not possible"}},
	{name: "hosts", file: "extra_hosts: ['a:10.0.0.1', 'b=10.0.0.1', 'host.docker.internal:host-gateway', 'six:[::1]']",
		want: "{hostAliases: [{ip: 10.0.0.1, hostnames: [a, b]}, {ip: '::1', hostnames: [six]}, {ip: node, hostnames: [host.docker.internal]}]}"},
	{name: "name servers", file: "dns: 1.1.1.1\ndns_search: [example.com, corp.example.com]\ndns_opt: [ndots:2]",
		want: "{dns: {servers: [1.1.1.1], search: [example.com, corp.example.com], options: ['ndots:2']}}"},
	{name: "no domains", file: "dns: [1.1.1.1, 2606:4700:4700::1111]\ndns_search: .", want: "{dns: {servers: [1.1.1.1, '2606:4700:4700::1111'], search: [.]}}"},
	{name: "links of others", file: "external_links: [db]", faults: []string{"external_links: is not possible"}},
}

func TestNames(t *testing.T) { testConversions(t, namesRows) }

var networksRows = []conversion{
	{name: "the network of the node", file: "network_mode: host\nports: ['80:80']", want: "{network: host, imagePorts: null, ports: [{containerPort: 80, port: 80}]}"},
	{name: "a port that the node's network does not lead on", file: "network_mode: host\nports: ['8080:80']", faults: []string{"~ ports[0]: is not led on"}},
	{name: "bridge", file: "network_mode: bridge", want: "{network: null}"},
	{name: "none", file: "network_mode: none", faults: []string{"network_mode: none is not possible"}},
	{name: "another service's", file: "services: {web: {image: web:1, network_mode: 'service:vpn'}, vpn: {image: vpn:1}}", faults: []string{"network_mode: is not possible between services"}},
	{name: "another container's", file: "network_mode: container:vpn", faults: []string{"network_mode: is not possible between services"}},
	{name: "kept apart", file: "services: {web: {image: web:1, networks: [a]}, db: {image: db:1, networks: [b]}}\nnetworks: {a: , b: }",
		faults: []string{`~ services.db.networks: does not keep "db" and "web" apart`}},
	{name: "two networks that meet", file: "services: {web: {image: web:1, networks: [a, b]}, db: {image: db:1, networks: [b]}}\nnetworks: {a: , b: }"},
	{name: "internal", file: "services: {web: {image: web:1, networks: [a]}}\nnetworks: {a: {internal: true}}", faults: []string{"/networks.a.internal: is not possible"}},
	{name: "of another project", file: "services: {web: {image: web:1, networks: [a]}}\nnetworks: {a: {external: true, name: proxy}}", faults: []string{"~ /networks.a.external: has no effect"}},
	{name: "drivers", file: "services: {web: {image: web:1, networks: [a, b]}}\nnetworks: {a: {driver: overlay, attachable: true, labels: {a: b}, enable_ipv6: true}, b: {driver: macvlan}}",
		faults: []string{`/networks.b.driver: "macvlan" is not possible`}},
	{name: "options of drivers", file: "services: {web: {image: web:1, networks: [a]}}\nnetworks: {a: {driver_opts: {encrypted: 'true', com.docker.network.driver.mtu: '1400'}}}",
		faults: []string{`/networks.a.driver_opts.encrypted: is not possible`, "~ /networks.a.driver_opts.com.docker.network.driver.mtu: changes nothing"}},
	{name: "addresses", file: "services: {web: {image: web:1, networks: {a: {ipv4_address: 10.0.0.2, priority: 3, mac_address: '02:42:ac:11:65:43'}}}}\nnetworks: {a: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}",
		faults: []string{"networks.a.ipv4_address: is not possible", "networks.a.mac_address: is not possible", "~ /networks.a.ipam: has no effect"}},
	{name: "a network that nobody uses", file: "services: {web: {image: web:1}}\nnetworks: {a: {internal: true, driver: macvlan}}"},
}

func TestNetworks(t *testing.T) { testConversions(t, networksRows) }
