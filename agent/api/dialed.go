package api

import (
	"context"
	"net"
	"net/http"
)

// NewDialedClient returns a client of the agent that dial opens connections to,
// on another machine. Errors call it name. dial bounds its own time: a connection
// that is asked for and not needed any more may still be made.
func NewDialedClient(name string, dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{
		address: name, base: "http://agent",
		http: &http.Client{CheckRedirect: noRedirect, Transport: &http.Transport{
			DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			ResponseHeaderTimeout:  answerTimeout,
			MaxResponseHeaderBytes: 64 << 10,
		}},
	}
}

// Dial opens a connection to the agent on which nothing is said yet. Errors are
// those of the other methods.
func (c *Client) Dial(ctx context.Context) (net.Conn, error) {
	address := c.base[len("http://"):]
	conn, err := c.http.Transport.(*http.Transport).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return conn, nil
}
