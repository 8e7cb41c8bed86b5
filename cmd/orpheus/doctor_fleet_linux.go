package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// fleetChecks are those of a node that shares work with others.
func (n *nodeExam) fleetChecks() []check {
	if n.config.Coordination == coordinationNone {
		return nil
	}
	return []check{{"records", n.records}, {"forge", n.forge}, {"peer port", n.peerPort}, {"node key", n.nodeKey}}
}

// board is that of the records; its error says what keeps it from being known.
func (n *nodeExam) board() (*gitsync.RefBoard, error) {
	if n.fleet == nil && n.config.Records.URL == "" {
		return nil, errors.New("fleet.yaml could not be read, which may say where the records are")
	}
	var place *planner.RecordsPlace
	if n.fleet != nil {
		place = n.fleet.Records
	}
	return gitsync.NewBoard(n.config.board(place, slog.New(slog.DiscardHandler)))
}

// records looks at the repository of the records, and unless an agent does so
// here tries out what its server can do. Two probes of one node at once could
// find each other's traces.
func (n *nodeExam) records(ctx context.Context) (level, string, string) {
	board, err := n.board()
	if err != nil {
		return levelWarn, err.Error(), "correct repository in " + n.file + " first, or give records.url"
	}
	defer board.Close()
	slow := func() (level, string, string) {
		return levelWarn, fmt.Sprintf("%s answers slowly: not within %s", board, checkTimeout), "try again; the agent is more patient"
	}
	listing, err := board.List(ctx)
	switch {
	case ctx.Err() != nil:
		return slow()
	case err != nil:
		return levelFail, err.Error(), "correct records in " + n.file + " or spec.records in fleet.yaml, or the access to it"
	}
	text := fmt.Sprintf("%s: %s", board, count(registered(listing), "registered node"))
	if n.running(ctx) {
		return levelOK, text + "; the agent here has probed the server", ""
	}
	able, err := board.Probe(ctx, n.config.Node.Name)
	switch {
	case ctx.Err() != nil:
		return slow()
	case err != nil:
		return levelFail, err.Error(), "let this node's key write refs there; where only branches are allowed, set spec.records.prefix to refs/heads/orpheus/ in fleet.yaml"
	}
	return judgeAbilities(able, text)
}

func registered(l gitsync.Listing) int {
	nodes := 0
	for ref := range l.Refs {
		if ref.Parse().Kind == planner.RefNode {
			nodes++
		}
	}
	return nodes
}

func judgeAbilities(able gitsync.Abilities, text string) (level, string, string) {
	switch {
	case !able.Compares:
		return levelFail, text + "; the server changes refs without comparing their old value",
			"leases cannot be agreed on there: keep the records on another Git server, or set coordination: none"
	case !able.Atomic:
		return levelWarn, text + "; the server cannot change several refs at once, so that replacing a node takes two pushes",
			"nothing is unsafe; a newer Git server does it in one"
	case !able.V2:
		return levelWarn, text + "; the server does not speak version 2 of Git's protocol, so that each look lists all its refs",
			"allow GIT_PROTOCOL through its web server or sshd, or keep the records in a repository of their own"
	}
	return levelOK, text + "; compares old values, atomic pushes, protocol version 2", ""
}

// forges are hosts that slow down who pushes often, and on which a key that may
// push may push to branches.
var forges = []string{"github.com", "gitlab.com", "bitbucket.org"}

// forge warns where records and manifests share a repository of a hosted
// forge, and where the budget is more than a forge likes.
func (n *nodeExam) forge(context.Context) (level, string, string) {
	board, err := n.board()
	if err != nil {
		return levelWarn, err.Error(), "correct repository in " + n.file + " first, or give records.url"
	}
	defer board.Close()
	host := hostOf(board.URL())
	if !slices.ContainsFunc(forges, func(f string) bool { return host == f || strings.HasSuffix(host, "."+f) }) {
		return levelOK, "the records are on no hosted forge that is known", ""
	}
	var faults, remedies []string
	if hostOf(n.config.Repository.URL) == host && repositoryName(n.config.Repository.URL) == repositoryName(board.URL()) {
		faults = append(faults, "a key that may write records there may usually push to the manifests' branch as well")
		remedies = append(remedies, "give the records a repository of their own, with spec.records.url in fleet.yaml")
	}
	if most := planner.GitHubBudgets.PushesPerMinute; n.fleet != nil && n.fleet.Budgets.WithDefaults().PushesPerMinute > most {
		faults = append(faults, fmt.Sprintf("the fleet may push more than %d times a minute, which forges slow down", most))
		remedies = append(remedies, "set spec.budgets to {preset: github} in fleet.yaml")
	}
	if len(faults) == 0 {
		return levelOK, "the records on " + host + " are apart from the manifests, and within its limits", ""
	}
	return levelWarn, "the records are on " + host + ": " + strings.Join(faults, "; "), strings.Join(remedies, "; ")
}

// hostOf is the host of a repository's address, "" for a path.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return strings.ToLower(u.Hostname())
	}
	if _, rest, ok := strings.Cut(address, "@"); ok {
		host, _, _ := strings.Cut(rest, ":")
		return strings.ToLower(host)
	}
	return ""
}

// repositoryName is the path of a repository's address on its host, however it
// is written: https and ssh lead to the same one.
func repositoryName(address string) string {
	path := ""
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		path = u.Path
	} else if _, rest, ok := strings.Cut(address, "@"); ok {
		_, path, _ = strings.Cut(rest, ":")
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(path, "/"), ".git"))
}

// peerPort looks whether other nodes will be able to watch this one.
func (n *nodeExam) peerPort(ctx context.Context) (level, string, string) {
	listen := n.config.Peer.Listen
	if listen == "none" {
		return levelOK, "none: this node shows life through the repository, which costs pushes, and its loss is noticed later", ""
	}
	if !n.running(ctx) {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
		if err != nil {
			return levelFail, err.Error(), "give peer.listen in " + n.file + " an address of this machine and a port that is free, or none"
		}
		if err := l.Close(); err != nil {
			return levelFail, err.Error(), "try again"
		}
	}
	address := n.config.peerAddress()
	if address == "" {
		return levelWarn, "listens on " + listen + ", but no address is found at which others reach it", "set peer.address in " + n.file + ", such as 10.0.0.5:7718"
	}
	return levelOK, "listens on " + listen + ", others reach it at " + address, ""
}

// nodeKey looks at the key with which the node signs. None is made here.
func (n *nodeExam) nodeKey(context.Context) (level, string, string) {
	path := filepath.Join(n.config.StateDir, nodeKeyFile)
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return levelOK, path + " will be made at the agent's first start", ""
	case errors.Is(err, fs.ErrPermission):
		return levelWarn, err.Error(), "run this as the agent's user"
	case err != nil:
		return levelFail, err.Error(), "make the folder readable for the agent's user"
	}
	key, err := trust.LoadOrCreateKey(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return levelWarn, err.Error(), "run this as the agent's user"
	case err != nil:
		return levelFail, err.Error(), "restore it from a copy; without it the node is a new one, and others let it in under its name only after it was fenced, or when its manifest names the new key"
	}
	return levelOK, key.Public(), ""
}
