package api_test

import (
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// TestAttack41StatusHasNoRoomForSecrets: what cannot be said cannot leak. A
// field with one of these names needs a better one, or another place.
func TestAttack41StatusHasNoRoomForSecrets(t *testing.T) {
	secret := regexp.MustCompile(`(?i)env|secret|passw|credential|auth(?:$|[^o])|cookie|private|^data$|content|command|args`)
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type, string)
	walk = func(ty reflect.Type, path string) {
		switch ty.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(ty.Elem(), path)
		case reflect.Interface:
			t.Errorf("%s can hold anything", path)
		case reflect.Struct:
			if seen[ty] || ty == reflect.TypeFor[time.Time]() {
				return
			}
			seen[ty] = true
			for field := range ty.Fields() {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if secret.MatchString(name) || name == "" {
					t.Errorf("%s.%s: a field named %q", path, field.Name, name)
				}
				walk(field.Type, path+"."+field.Name)
			}
		}
	}
	walk(reflect.TypeFor[api.Status](), "Status")
	walk(reflect.TypeFor[api.Endpoints](), "Endpoints")
	walk(reflect.TypeFor[api.NetworkState](), "NetworkState")
}

// TestAttack41ConnectionFlood: whoever holds all connections of loopback open
// takes neither the agent's descriptors nor its socket.
func TestAttack41ConnectionFlood(t *testing.T) {
	w := serve(t, nil)
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for range 150 {
		c, err := net.DialTimeout("tcp", w.addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if _, err := w.client.Status(t.Context()); err != nil {
		t.Errorf("the socket: %v", err)
	}
	impatient := &http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if res, err := impatient.Get("http://" + w.addr + "/healthz"); err == nil {
		res.Body.Close()
		t.Error("more than 128 connections are served at once")
	}
	for _, c := range held {
		c.Close()
	}
	held = nil
	if code, _, _ := w.get(t, "GET", "/healthz", nil); code != 200 {
		t.Errorf("after the flood: %d", code)
	}
}
