// Package notify tells others how commits fare: forges, with the status of a
// commit (GitHub, GitLab, Gitea and Forgejo), and webhooks, with what happens.
//
// The agent hands over Facts, values that say what the node knows, as often as
// it likes, and is never kept waiting. Tell finds the events between what was
// told before and the facts now; judge finds the status that each commit is to
// have. Both are pure, what they go by is kept on disk through restarts, and
// whatever they find is sent by goroutines of this package: bounded in number,
// size and time, tried again, and never more often than a server wants.
//
// Nothing is recorded in Git. A commit's status is level-triggered: who posts
// one looks first what stands there, so that nodes need not agree who it is. An
// event is told by the one node whose decision it was.
//
// No error, log line or status holds a token or a webhook's address.
package notify
