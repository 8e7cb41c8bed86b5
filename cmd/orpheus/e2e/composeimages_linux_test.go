package e2e

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// composeImage is how an image of the corpus looks from outside. All of them
// hold the payload, under the names of their programs.
type composeImage struct {
	listens string // its server, as in EXPOSE
	exposes string // "" = as it listens; "-" = nothing
	user    string
	runs    string // its ENTRYPOINT; "" = docker-entrypoint.sh, "-" = none
}

// composeImages are the images of the corpus by repository, with the ports,
// users and entrypoints that theirs have.
var composeImages = map[string]composeImage{
	"library/postgres":                         {listens: "5432/tcp"},
	"library/mysql":                            {listens: "3306/tcp 33060/tcp"},
	"library/mariadb":                          {listens: "3306/tcp"},
	"library/redis":                            {listens: "6379/tcp"},
	"library/wordpress":                        {listens: "80/tcp"},
	"library/nginx":                            {listens: "80/tcp 443/tcp 8085/tcp 8086/tcp", exposes: "80/tcp"},
	"library/rabbitmq":                         {listens: "5672/tcp 15672/tcp"},
	"library/traefik":                          {listens: "80/tcp 8080/tcp", exposes: "80/tcp"},
	"library/registry":                         {listens: "5000/tcp"},
	"library/docker":                           {listens: "2375/tcp 2376/tcp"},
	"library/eclipse-mosquitto":                {listens: "1883/tcp"},
	"library/haproxy":                          {listens: "8080/tcp", exposes: "-", user: "99"},
	"library/caddy":                            {listens: "80/tcp 443/tcp 443/udp 2019/tcp"},
	"example/shop-web":                         {listens: "8000/tcp", exposes: "-"},
	"example/reports":                          {listens: "8000/tcp", exposes: "-", runs: "-"},
	"example/backend":                          {listens: "8080/tcp"},
	"example/frontend":                         {listens: "3000/tcp 5173/tcp", exposes: "-"},
	"example/api":                              {listens: "5000/tcp", exposes: "-", runs: "-"},
	"example/publisher":                        {},
	"example/consumer":                         {},
	"example/uploads":                          {},
	"example/relay":                            {listens: "7000/tcp 7001/tcp 7002/tcp 7003/tcp 7100/udp 7101/udp 7500/tcp 9600/tcp 9700/tcp 9701/tcp 9800/udp", exposes: "-"},
	"apache/kafka":                             {listens: "9092/tcp 19092/tcp 29093/tcp", exposes: "9092/tcp", user: "app"},
	"provectuslabs/kafka-ui":                   {listens: "8080/tcp"},
	"mher/flower":                              {listens: "5555/tcp"},
	"prom/node-exporter":                       {listens: "9100/tcp", user: "65534"},
	"prom/prometheus":                          {listens: "9090/tcp", user: "65534"},
	"prom/alertmanager":                        {listens: "9093/tcp", user: "65534"},
	"grafana/grafana":                          {listens: "3000/tcp", user: "472"},
	"elasticsearch/elasticsearch":              {listens: "9200/tcp 9300/tcp", user: "1000:0", runs: "tini"},
	"logstash/logstash":                        {listens: "5044/tcp 9600/tcp 50000/tcp 50000/udp", exposes: "5044/tcp 9600/tcp", user: "1000"},
	"kibana/kibana":                            {listens: "5601/tcp", user: "1000"},
	"traefik/whoami":                           {listens: "80/tcp"},
	"gitea/gitea":                              {listens: "22/tcp 3000/tcp"},
	"joxit/docker-registry-ui":                 {listens: "80/tcp"},
	"minio/minio":                              {listens: "9000/tcp 9001/tcp", exposes: "9000/tcp"},
	"minio/mc":                                 {runs: "mc"},
	"gitlab/gitlab-runner":                     {},
	"migrate/migrate":                          {runs: "migrate"},
	"dockersamples/examplevotingapp_vote":      {listens: "80/tcp"},
	"dockersamples/examplevotingapp_result":    {listens: "80/tcp"},
	"dockersamples/examplevotingapp_worker":    {},
	"coredns/coredns":                          {listens: "53/tcp 53/udp"},
	"itzg/minecraft-server":                    {listens: "25565/tcp 19132/udp", exposes: "25565/tcp"},
	"lloesche/valheim-server":                  {listens: "2456/udp 2457/udp", exposes: "2456/udp 2457/udp"},
	"home-assistant/home-assistant":            {listens: "8123/tcp", exposes: "-"},
	"mattermost/mattermost-enterprise-edition": {listens: "8065/tcp 8443/udp", user: "2000"},
	"vaultwarden/server":                       {listens: "80/tcp"},
	"immich-app/immich-server":                 {listens: "3001/tcp"},
	"immich-app/immich-machine-learning":       {listens: "3003/tcp"},
	"tensorchord/pgvecto-rs":                   {listens: "5432/tcp"},
}

// composePrograms are where the payload lies in all images.
var composePrograms = []string{
	"/bin/sh", "/usr/local/bin/probe", "/usr/local/bin/docker-entrypoint.sh", "/usr/local/bin/tini", "/usr/local/bin/worker",
	"/usr/bin/pg_isready", "/usr/bin/redis-cli", "/usr/bin/rabbitmq-diagnostics", "/usr/bin/curl", "/usr/bin/mc", "/usr/bin/migrate",
	"/usr/bin/gunicorn", "/usr/bin/celery", "/usr/bin/python", "/usr/bin/npm",
}

// composeRegistries are where the corpus has its images from: the registry of
// the fleet mirrors them.
var composeRegistries = []string{"docker.io", "ghcr.io", "quay.io", "docker.elastic.co"}

// pushComposeImages makes the images that services name.
func (f *fleet) pushComposeImages(t *testing.T, services []planner.Service) {
	t.Helper()
	links := map[string]string{}
	for _, at := range composePrograms {
		links[at] = imagetest.Program
	}
	base, err := imagetest.Build(imagetest.Options{Binary: f.Payload, Links: links, Files: map[string]string{
		"/usr/share/motd": "from the image\n", "/app/node_modules/left.js": "from the image\n"}})
	f.must(err)
	pushed := map[string]bool{}
	for _, s := range services {
		templates := []planner.Template{s.Template}
		for _, h := range s.Hooks {
			templates = append(templates, h.Template)
		}
		for _, template := range templates {
			for _, c := range template.Containers {
				repository, tag := composeReference(c.Image)
				if at := repository + ":" + tag; !pushed[at] {
					pushed[at] = true
					f.pushComposeImage(base, repository, tag)
				}
			}
		}
	}
}

// composeReference is what a registry calls an image.
func composeReference(image string) (repository, tag string) {
	repository, tag, tagged := strings.Cut(image, ":")
	if !tagged {
		tag = "latest"
	}
	if host, rest, found := strings.Cut(repository, "/"); found && strings.Contains(host, ".") {
		if host == "docker.io" && !strings.Contains(rest, "/") {
			rest = "library/" + rest
		}
		return rest, tag
	} else if !found {
		return "library/" + repository, tag
	}
	return repository, tag
}

func (f *fleet) pushComposeImage(base v1.Image, repository, tag string) {
	f.t.Helper()
	is, known := composeImages[repository]
	if !known {
		f.t.Fatalf("no word on image %s", repository)
	}
	config := v1.Config{
		Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"serve"}, User: is.user, ExposedPorts: map[string]struct{}{},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "ACTS=1", "LISTEN=" + is.listens, "VERSION=" + repository + ":" + tag},
	}
	switch is.runs {
	case "":
	case "-":
		config.Entrypoint, config.Cmd = nil, []string{"python"}
	default:
		config.Entrypoint, config.Cmd = []string{is.runs}, nil
	}
	exposes := is.listens
	if is.exposes != "" {
		exposes = strings.Trim(is.exposes, "-")
	}
	for port := range strings.FieldsSeq(exposes) {
		config.ExposedPorts[port] = struct{}{}
	}
	img, err := mutate.Config(base, config)
	f.must(err)
	_, _, err = f.Registry.Push(repository+":"+tag, img)
	f.must(err)
}

// composeConfig is how the agents of the fleet that runs the corpus are
// configured: what files ask of their nodes is allowed.
func composeConfig(registry string) string {
	var b strings.Builder
	b.WriteString("policy:\n  hostPaths: [/etc, /proc, /sys, /run, /var/run, /usr/share/zoneinfo]\n  privileged: true\n  hostNetwork: true\n  capabilities: [SYS_NICE, NET_BIND_SERVICE]\n")
	// Files publish 15672 and 25565.
	b.WriteString("network: {hostPorts: 28000-29999}\nregistries:\n")
	for _, host := range composeRegistries {
		fmt.Fprintf(&b, "  %s: {mirrors: [\"http://%s\"]}\n", host, registry)
	}
	return b.String()
}
