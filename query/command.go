package query

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	mathrand "math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// CommandLog is the log of a cluster, by which changes come to all nodes in one
// order. Its methods may be called concurrently.
type CommandLog interface {
	// Submit puts a command into the log and returns what Apply gave for it on
	// this node, the same pointer. It fails with spoor.ErrClosed if the command is
	// not in the log, and with spoor.ErrBusy if the brokers did not confirm it; then,
	// as after any other error, it may be there.
	Submit(ctx context.Context, c *spoor.Command) (*Reply, error)
	// Retain does so with a CommandRetain of an app, and returns what went; a
	// *spoor.ClockError while clocks differ.
	Retain(ctx context.Context, app spoor.AppID) (spoor.AppSweep, error)
	// NewNumber proposes the number of a new app: above all that are known, and
	// above after, in a partition that this node reads.
	NewNumber(after spoor.AppID) (spoor.AppID, error)
}

// Reply answers a command: what its request is answered with where it was made.
type Reply struct {
	Status int
	Header [][2]string // without those of the connection
	Body   []byte

	taken bool              // another app has the proposed number
	later func(*call) error // what is left to the node that was asked; nil: nothing
}

const (
	// changeBytesMax bounds the body of a change that goes through the log. As
	// base64, with path and query, it stays below the 1,000,000 bytes of a record.
	changeBytesMax  = 700_000
	commandBytesMax = 970_000
	submitFor       = 30 * time.Second
	newAppTries     = 16
)

var (
	errChangeLarge    = detail(fasthttp.StatusRequestEntityTooLarge, "In a cluster a change has at most 700,000 bytes; send it in parts.")
	errLogAway        = retry(detail(fasthttp.StatusServiceUnavailable, "The brokers of the cluster did not take the change; it may still reach them, so look before you repeat it. Reading works."), 5)
	errUnsure         = detail(fasthttp.StatusServiceUnavailable, "The change was not confirmed in time, and may have been made: look before you repeat it.")
	errApplied        = detail(fasthttp.StatusOK, "This change was made already; read what it came to.")
	errNumberTaken    = detail(fasthttp.StatusConflict, "Several apps are being made at once; send it again.")
	errUnknownCommand = detail(fasthttp.StatusNotImplemented, "This node does not know the command: all store nodes must have the same version.")
)

// request is the body of a CommandRequest. It holds no token and no cookie.
type request struct {
	Actor    string     `json:"actor"`
	Role     spoor.Role `json:"role"`
	Local    bool       `json:"local,omitempty"` // the operator, on the socket of a node
	Method   string     `json:"method"`
	Path     string     `json:"path"` // as it came, escaped
	Query    string     `json:"query,omitempty"`
	Version2 bool       `json:"version2,omitempty"`
	Body     []byte     `json:"body,omitempty"`
	// Hash is of a secret that only the node knows that was asked: of what is
	// shown once and kept as a hash, the log holds no more than the store.
	Hash string `json:"hash"`
}

// travels reports whether the request goes through the log.
func (c *call) travels() bool {
	if c.s.opt.Commands == nil {
		return false
	}
	switch c.route.effect {
	case logged, stepped:
		return true
	case unsigned:
		return c.app.LinkSecret == ""
	}
	return false
}

// submit puts the request into the log and answers with what came of it here.
func (c *call) submit() error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if len(body) > changeBytesMax {
		return errChangeLarge
	}
	if err := c.foreseeFeed(body); err != nil {
		return err
	}
	if err := c.foreseeKey(body); err != nil {
		return err
	}
	c.once = c.secret(32)
	text, err := json.Marshal(&request{
		Actor: c.who.name, Role: c.who.role, Local: c.who.local,
		Method: c.route.method, Path: c.path, Query: string(c.ctx.URI().QueryString()),
		Version2: c.v2, Body: body, Hash: spoor.HashToken(c.once),
	})
	if err != nil {
		return err
	}
	if len(text) > commandBytesMax {
		return errChangeLarge
	}
	ctx, cancel := context.WithTimeout(context.Background(), submitFor)
	defer cancel()
	var reply *Reply
	if c.app == nil {
		reply, err = c.submitApp(ctx, text)
	} else {
		reply, err = c.send(ctx, c.app.ID, text)
	}
	if err != nil {
		return c.unsent(err)
	}
	return c.relay(reply)
}

func (c *call) send(ctx context.Context, app spoor.AppID, body []byte) (*Reply, error) {
	cmd := &spoor.Command{App: app, At: c.now.UnixMilli(), Kind: spoor.CommandRequest, Body: body}
	rand.Read(cmd.ID[:]) // never fails
	rand.Read(cmd.Seed[:])
	return c.s.opt.Commands.Submit(ctx, cmd)
}

// submitApp has an app made, under the next number that is free. What concerns
// other apps is checked here: while the command is applied they may stand
// elsewhere on each node.
func (c *call) submitApp(ctx context.Context, body []byte) (reply *Reply, err error) {
	if _, err := c.newApp(); err != nil {
		return nil, err
	}
	number := spoor.AppID(0)
	for range newAppTries {
		if number, err = c.s.opt.Commands.NewNumber(number); err != nil {
			c.s.opt.Log.Error("cannot find a number for a new app", "error", err)
			p, _ := problemOf(err)
			return nil, p
		}
		reply, err = c.send(ctx, number, body)
		if !errors.Is(err, spoor.ErrNumberTaken) && (err != nil || !reply.taken) {
			return reply, err
		}
	}
	return nil, errNumberTaken
}

// unsent says what a failed Submit means.
func (c *call) unsent(err error) error {
	var p *problem
	var clock *spoor.ClockError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &clock):
		return detail(fasthttp.StatusConflict, "Nothing was removed: "+clock.Error()+". Set right the one that is wrong.")
	case errors.Is(err, spoor.ErrBusy):
		return errLogAway
	case errors.Is(err, spoor.ErrClosed):
		return errClosing
	}
	c.s.opt.Log.Warn("a change was put into the cluster's log, but not confirmed in time", "method", c.route.method, "path", c.route.pattern, "error", err)
	return errUnsure
}

// relay sends the reply of a command to the client.
func (c *call) relay(r *Reply) error {
	h := &c.ctx.Response.Header
	for _, field := range r.Header {
		h.Set(field[0], field[1])
	}
	c.ctx.SetStatusCode(r.Status)
	c.ctx.Response.SetBodyRaw(r.Body)
	if r.later == nil {
		return nil
	}
	return r.later(c)
}

// finish ends a reply: of a command on the node alone that was asked, behind its
// application, so that no partition waits for it.
func (c *call) finish(rest func(*call) error) error {
	if c.applied {
		c.later = rest
		return nil
	}
	return rest(c)
}

// Repeatable reports whether a command makes several commits. It is then applied
// without a portion of its partition, and after a crash again from its start.
func (s *Server) Repeatable(cmd *spoor.Command) bool {
	c, err := s.commanded(cmd)
	return err == nil && c.route.effect == stepped
}

// Apply makes the change of a CommandRequest: on every node, in the order of the
// log, at the command's time and with its randomness. st and ret are views of the
// store and of its retention for this one command. What is refused is a Reply.
// An error says that the command is not decided and must be applied again: the
// store was busy, read-only, closed or failed. The ends of waiting (?wait=true)
// and of counting are left to the node that was asked.
//
// A command that this version does not know is a Reply too, and is counted:
// upgrade the store nodes of a cluster together.
func (s *Server) Apply(ctx context.Context, cmd *spoor.Command, st Store, ret Retention) (reply *Reply, err error) {
	c, err := s.commanded(cmd)
	if err != nil {
		s.counters.unknown.Add(1)
		s.opt.Log.Error("a command of the cluster's log is not known here; upgrade all store nodes together", "app_id", uint32(cmd.App), "error", err)
		return refusal(errUnknownCommand), nil
	}
	defer func() {
		if r := recover(); r != nil {
			s.counters.panics.Add(1)
			s.opt.Log.Error("a command panicked while it was applied; please report this", "app_id", uint32(cmd.App), "path", c.route.pattern, "stack", string(debug.Stack()))
			reply, err = refusal(errInternal), nil
		}
	}()
	c.life, c.store, c.retention = ctx, st, ret
	if err = c.findApp(cmd.App); err == nil {
		err = c.serveRoute()
	}
	if err != nil {
		p := decided(err)
		if p == nil {
			return nil, err
		}
		s.refuse(c.ctx, p)
	}
	s.counters.applied.Add(1)
	reply = replyOf(c.ctx)
	reply.later, reply.taken = c.later, errors.Is(err, spoor.ErrNumberTaken)
	if err != nil {
		reply.later = nil
	}
	return reply, nil
}

// findApp finds the app of a command, which may be gone; one that makes an app
// has none.
func (c *call) findApp(id spoor.AppID) error {
	if c.route.scope == scopeAllApps {
		return nil
	}
	if c.app = c.s.opt.Apps.App(id); c.app == nil {
		return errNotFound
	}
	return nil
}

// decided is what a client is told of an error that every node meets alike; nil
// where the state of this node's store is to blame.
func decided(err error) *problem {
	if errors.Is(err, spoor.ErrApplied) {
		return errApplied
	}
	p, known := problemOf(err)
	if !known || p == errBusy || p == errReadOnly || p == errClosing {
		return nil
	}
	return p
}

// commanded makes the call of a command.
func (s *Server) commanded(cmd *spoor.Command) (*call, error) {
	if cmd.Kind != spoor.CommandRequest {
		return nil, errors.New("it is no request")
	}
	var r request
	dec := json.NewDecoder(bytes.NewReader(cmd.Body))
	dec.DisallowUnknownFields() // what is left out of a change would part the nodes
	if err := dec.Decode(&r); err != nil {
		return nil, errors.New("its body has another form") // the error could quote it
	}
	c := &call{s: s, door: doorWeb, applied: true, hash: r.Hash, v2: r.Version2, path: r.Path, number: cmd.App}
	res, args := s.find(r.Path, doorWeb)
	if res == nil || res.methods[r.Method] == nil {
		return nil, errors.New("there is no such path")
	}
	c.route, c.args = res.methods[r.Method], args
	switch c.route.effect {
	case logged, stepped, unsigned:
	default:
		return nil, errors.New("its path takes no commands")
	}
	c.who = actor{name: r.Actor, role: r.Role, local: r.Local}
	c.now = time.UnixMilli(cmd.At).UTC()
	c.random = mathrand.NewChaCha8(sha256.Sum256(append([]byte("query"), cmd.Seed[:]...))) // the store draws from the seed itself
	var in fasthttp.Request
	in.Header.SetMethod(r.Method)
	in.SetRequestURI("/?" + r.Query)
	in.SetBodyRaw(r.Body)
	c.ctx = new(fasthttp.RequestCtx)
	c.ctx.Init(&in, nil, nil)
	c.ctx.Response.Header.SetNoDefaultContentType(true)
	return c, nil
}

func replyOf(ctx *fasthttp.RequestCtx) *Reply {
	r := &Reply{Status: ctx.Response.StatusCode(), Body: bytes.Clone(ctx.Response.Body())}
	for name, value := range ctx.Response.Header.All() {
		switch n := string(name); {
		case n == fasthttp.HeaderContentType, n == fasthttp.HeaderRetryAfter, strings.HasPrefix(n, "X-Spoor-"):
			r.Header = append(r.Header, [2]string{n, string(value)})
		}
	}
	return r
}

func refusal(p *problem) *Reply {
	return &Reply{Status: p.status, Header: [][2]string{{fasthttp.HeaderContentType, "application/json"}}, Body: p.body}
}

// newSecret is the hash of a secret that is kept as such and shown once, by
// c.once, on the node that was asked.
func (c *call) newSecret() (hash string) {
	if c.applied {
		return c.hash
	}
	c.once = c.secret(32)
	return spoor.HashToken(c.once)
}
