package compose

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// words is what the texts of a project say of its services: which ports of
// which hosts they name, and which words there are at all.
type words struct {
	ports map[string][]int // by name of a host, in small letters
	all   map[string]bool
}

// wordsOf reads the texts of all services that are enabled: environment,
// commands, health checks, and the text files that they mount.
func (c *converter) wordsOf() *words {
	if c.words != nil {
		return c.words
	}
	c.words = &words{map[string][]int{}, map[string]bool{}}
	for _, name := range c.enabled {
		s := c.p.Types.Services[name]
		for _, v := range s.Environment {
			if v != nil {
				c.words.read(*v)
			}
		}
		for _, args := range [][]string{s.Entrypoint, s.Command} {
			for _, text := range args {
				c.words.read(text)
			}
		}
		if s.HealthCheck != nil {
			for _, text := range s.HealthCheck.Test {
				c.words.read(text)
			}
		}
		for _, text := range c.mountedTexts(s) {
			c.words.read(text)
		}
	}
	return c.words
}

// hostPort is a name and what may be one of its ports.
var hostPort = regexp.MustCompile(`([A-Za-z0-9][A-Za-z0-9_.-]*):([0-9]{1,5})`)

func (w *words) read(text string) {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !isWordByte(r) }) {
		w.all[strings.Trim(word, ".")] = true
	}
	for _, at := range hostPort.FindAllStringSubmatchIndex(text, -1) {
		rest := text[at[1]:]
		if rest != "" && (isWordByte(rune(rest[0])) && rest[0] != '.' || len(rest) > 1 && rest[0] == '.' && isWordByte(rune(rest[1]))) {
			continue // redis:7.2-alpine
		}
		name := strings.ToLower(text[at[2]:at[3]])
		port, _ := strconv.Atoi(text[at[4]:at[5]])
		if port > 0 && port <= 65535 && !slices.Contains(w.ports[name], port) {
			w.ports[name] = append(w.ports[name], port)
		}
	}
}

func isWordByte(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.'
}

// mentions reports whether some text of the project has the word.
func (c *converter) mentions(word string) bool { return c.wordsOf().all[word] }

// asked are the ports that texts of the project name behind one of the names of
// a service, in order.
func (c *converter) asked(service string) []int {
	s := c.p.Types.Services[service]
	names := []string{service, s.ContainerName, s.Hostname}
	for _, n := range s.Networks {
		if n != nil {
			names = append(names, n.Aliases...)
		}
	}
	for _, other := range c.enabled {
		for _, link := range c.p.Types.Services[other].Links {
			if target, alias, named := strings.Cut(link, ":"); named && target == service {
				names = append(names, alias)
			}
		}
	}
	var ports []int
	for _, name := range names {
		if name != "" {
			ports = append(ports, c.wordsOf().ports[strings.ToLower(name)]...)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
