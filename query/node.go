package query

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// Nodes are the other store nodes of a cluster, by URLs such as
// http://10.0.0.7:8081. Tokens of clients are sent there, so no URL may come from
// elsewhere than the operator's nodes. The methods are called for each request, concurrently.
type Nodes interface {
	// Of returns a node that reads the partition of the app with a name, if this
	// one does not; url is empty where none is known to be alive. Elsewhere is
	// false for an app that nobody knows.
	Of(app string) (url string, elsewhere bool)
	// HasKey reports whether an app that this node does not have has a write key.
	HasKey(writeKey string) bool
	// AppByShare finds the app of a shared overview's token among those that this
	// node does not have; nil if there is none.
	AppByShare(token string) *spoor.App
	// Apps lists the apps that this node does not have, without their tokens and
	// without the secrets of their webhooks.
	Apps() []*spoor.App
	// Others are nodes that together have what this one has not. No more than the
	// first 16 are asked. Some are away where an app has no node that is alive: a
	// token that nobody knows may be that app's.
	Others() (urls []string, away bool)
}

const (
	headerNode      = "X-Spoor-Node"      // in a reply: the URL of the node that gave it
	headerForwarded = "X-Spoor-Forwarded" // in a request: it comes from a node, and goes no further

	forwardsMax    = 64   // requests at once that are on their way to other nodes
	waitsMax       = 16   // of them, those that wait for the headers of one node
	pollsMax       = 12   // requests to one node that wait for entries of a feed; it has places for 16 of all its clients
	unknownMax     = 8    // tokens at once that one node is asked about
	sharesMax      = 8    // requests at once to one node by who only has a link; the other places are for tokens
	othersMax      = 16   // nodes that are asked for one token
	latelyMax      = 4096 // tokens of which it is remembered who knows them
	passWholeMax   = 1 << 20
	nodeDialFor    = 5 * time.Second
	nodeAnswersFor = 5 * time.Minute // until its headers are here; a reply may wait for bytes to be given back
	nodeKnowsFor   = 5 * time.Second // until it says whether it knows a token
	nodeSilentFor  = 2 * time.Minute // between pieces of a stream; tails have a beat
)

var (
	errNodeAway    = retry(detail(fasthttp.StatusServiceUnavailable, "The node that has this app does not answer; nothing was changed."), 5)
	errNoNode      = retry(detail(fasthttp.StatusServiceUnavailable, "No node that has this app is alive; nothing was changed."), 5)
	errSomeAway    = retry(detail(fasthttp.StatusServiceUnavailable, "No node that answers knows this token, and some do not answer or are not alive."), 5)
	errNodeCut     = retry(detail(fasthttp.StatusBadGateway, "The node that has this app broke off its answer."), 5)
	errNodeUnsure  = detail(fasthttp.StatusBadGateway, "The node that has this app broke off its answer. The change may have been made: look before you repeat it.")
	errNodeLoop    = detail(fasthttp.StatusLoopDetected, "Another node says that this one has the app, and it does not. They do not know of each other yet; try again later.")
	errForwardsMax = retry(detail(fasthttp.StatusServiceUnavailable, "Too many requests wait for other nodes; nothing was changed, send it again."), 1)
)

// forwarder sends requests to other nodes.
type forwarder struct {
	client   *http.Client
	slots    chan struct{} // holds one entry for each request that is on its way
	waits    nodePlaces    // of those that wait for headers
	polls    nodePlaces    // of those that ask the node to wait for something to tell
	unknown  nodePlaces    // of questions about tokens
	shares   nodePlaces    // of shared overviews
	known    nodePlaces    // of those about tokens that the node knew before
	lately   knownTokens
	knowsFor time.Duration // until one is answered
}

// nodePlaces bounds what waits for each node, by its URL.
type nodePlaces struct {
	max   int
	mu    sync.Mutex
	taken map[string]int // without nodes for which nothing waits: their URLs change
}

func (p *nodePlaces) take(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[node] >= p.max {
		return false
	}
	p.taken[node]++
	return true
}

func (p *nodePlaces) free(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[node]--; p.taken[node] == 0 {
		delete(p.taken, node)
	}
}

// knownTokens remembers which node knew a token last: questions about these have
// places of their own, which tokens that nobody knows cannot take.
type knownTokens struct {
	mu   sync.Mutex
	node map[string]string // by hash; all are forgotten when it is full
}

func (k *knownTokens) at(node, authorization string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.node[spoor.HashToken(authorization)] == node
}

func (k *knownTokens) add(node, authorization string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.node) >= latelyMax || k.node == nil {
		k.node = map[string]string{}
	}
	k.node[spoor.HashToken(authorization)] = node
}

func newForwarder() *forwarder {
	return &forwarder{
		client: &http.Client{
			Transport: &http.Transport{ // no proxy: the URLs are the operator's own
				DialContext:            (&net.Dialer{Timeout: nodeDialFor}).DialContext,
				TLSHandshakeTimeout:    nodeDialFor,
				ResponseHeaderTimeout:  nodeAnswersFor,
				MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConnsPerHost:    8,
				IdleConnTimeout:        30 * time.Second, // below that of the other end
				DisableCompression:     true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slots:    make(chan struct{}, forwardsMax),
		waits:    nodePlaces{max: waitsMax, taken: map[string]int{}},
		polls:    nodePlaces{max: pollsMax, taken: map[string]int{}},
		unknown:  nodePlaces{max: unknownMax, taken: map[string]int{}},
		shares:   nodePlaces{max: sharesMax, taken: map[string]int{}},
		known:    nodePlaces{max: waitsMax, taken: map[string]int{}},
		knowsFor: nodeKnowsFor,
	}
}

// named is the app that the request is about, as far as other nodes may have it.
// A token opens one app: no other that the request names is looked for.
func (c *call) named() (name string, err error) {
	switch {
	case c.who.elsewhere != "":
		return c.who.elsewhere, nil
	case c.s.opt.Nodes == nil || c.who.app != nil:
		return "", nil
	case c.route.action == "checkpoint": // it is refused to sessions, which another node would not see
		return "", nil
	case c.route.scope == scopeNamedApp:
		return c.args[0], nil
	case c.door == doorLocal || c.route.scope == scopeAllApps:
		return c.query("app")
	}
	return "", nil
}

// forwardedTo answers by another node where that has an app. A token that is not
// known here must be known there before the request is sent.
func (c *call) forwardedTo(app string, unknown bool) (done bool, err error) {
	if c.s.opt.Nodes == nil || app == "" {
		return false, nil
	}
	url, elsewhere := c.s.opt.Nodes.Of(app)
	h := &c.ctx.Request.Header
	switch {
	case !elsewhere:
		return false, nil
	case len(h.Peek(headerForwarded)) > 0:
		return true, errNodeLoop
	case url == "":
		return true, errNoNode
	case c.authorization() == "" && c.door != doorShare: // there is nothing by which it would be known there
		c.ctx.Response.Header.Set(headerNode, url)
		return true, detail(fasthttp.StatusMisdirectedRequest, "This app is on another node; ask that, at "+url+".")
	}
	if unknown {
		if _, err := c.s.forwards.knows(c.life, url, c.authorization()); err != nil {
			c.ctx.Response.Header.Set(headerNode, url)
			return true, err
		}
	}
	if c.door == doorShare {
		if !c.s.forwards.shares.take(url) {
			return true, errForwardsMax
		}
		defer c.s.forwards.shares.free(url)
	}
	return true, c.answerBy(url)
}

// lookElsewhere answers about an app that no other node is known to have any more,
// or yet.
func (c *call) lookElsewhere() error {
	if c.door == doorShare {
		return errNotFound
	}
	err := c.askOthers()
	if errors.Is(err, errInvalidToken) {
		return c.sessionOver()
	}
	return err
}

// askOthers takes a token that is not known here to the other nodes, and the
// request to the first that knows it.
func (c *call) askOthers() error {
	node, _, err := c.whoKnows(c.authorization())
	if err != nil {
		return err
	}
	return c.answerBy(node)
}

// whoKnows finds, of all other nodes asked at once, the first that knows a token,
// and the app of that token; see knows.
func (c *call) whoKnows(authorization string) (node, app string, err error) {
	if c.s.opt.Nodes == nil {
		return "", "", errInvalidToken
	}
	others, away := c.s.opt.Nodes.Others()
	worst := errInvalidToken
	if away {
		worst = errSomeAway
	}
	if len(c.ctx.Request.Header.Peek(headerForwarded)) > 0 {
		return "", "", worst
	}
	others = others[:min(len(others), othersMax)]
	ctx, cancel := context.WithCancel(c.life)
	defer cancel()
	type answer struct {
		node, app string
		err       error
	}
	answers := make(chan answer, len(others))
	for _, node := range others {
		go func() {
			app, err := c.s.forwards.knows(ctx, node, authorization)
			answers <- answer{node, app, err}
		}()
	}
	for range others {
		switch a := <-answers; {
		case a.err == nil:
			return a.node, a.app, nil
		case a.err == errForwardsMax:
			worst = errForwardsMax
		case a.err != errInvalidToken && worst == errInvalidToken:
			worst = errSomeAway
		}
	}
	return "", "", worst
}

// knows asks a node whether it knows a token, by a request that changes nothing,
// and of which nothing else goes there: whoever brings the token may be nobody. It
// gives the token's app; empty for the control plane of that node.
func (f *forwarder) knows(ctx context.Context, node, authorization string) (app string, err error) {
	places := &f.unknown
	if f.lately.at(node, authorization) {
		places = &f.known
	}
	if !places.take(node) {
		return "", errForwardsMax
	}
	defer places.free(node)
	ctx, cancel := context.WithTimeout(ctx, f.knowsFor)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(node, "/")+sessionPath, nil)
	if err != nil {
		return "", errNodeAway
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("User-Agent", "spoor")
	req.Header.Set(headerForwarded, "1")
	resp, err := f.client.Do(req)
	if err != nil {
		return "", errNodeAway
	}
	defer resp.Body.Close()
	var known struct{ App string }
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return "", errInvalidToken
	case resp.StatusCode != http.StatusOK, json.NewDecoder(io.LimitReader(resp.Body, passWholeMax)).Decode(&known) != nil:
		return "", errNodeAway
	}
	f.lately.add(node, authorization)
	return known.App, nil
}

// answerBy gives the answer of another node.
func (c *call) answerBy(node string) error {
	resp, err := c.ask(node)
	if err != nil {
		return c.unanswered(node, err)
	}
	if resp.StatusCode == http.StatusUnauthorized && c.session != nil && c.who.elsewhere != "" {
		resp.Body.Close()
		return c.sessionOver()
	}
	return c.pass(resp, node)
}

// ask sends the request to a node. Its body is read once there is a place among the
// requests on their way. The response's body gives that back when it is closed. No
// more than waitsMax of them wait for one node, which may hang.
func (c *call) ask(node string) (*http.Response, error) {
	select {
	case c.s.forwards.slots <- struct{}{}:
	default:
		return nil, errForwardsMax
	}
	ctx, cancel := context.WithCancel(c.life)
	end := func() { cancel(); <-c.s.forwards.slots }
	body, err := c.body()
	if err != nil {
		end()
		return nil, err
	}
	target := strings.TrimRight(node, "/") + c.path
	if c.door == doorShare { // the link is what opens it there
		target = strings.TrimRight(node, "/") + c.place + c.path
	}
	if query := c.ctx.URI().QueryString(); len(query) > 0 {
		target += "?" + string(query)
	}
	req, err := http.NewRequestWithContext(ctx, string(c.ctx.Method()), target, bytes.NewReader(body))
	if err != nil {
		end()
		return nil, errFraming
	}
	for _, name := range []string{"Accept", "Content-Type"} {
		if value := c.ctx.Request.Header.Peek(name); len(value) > 0 {
			req.Header.Set(name, string(value))
		}
	}
	if authorization := c.authorization(); authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Host = string(c.ctx.Host()) // of the pages that follow, if there is no Options.PublicURL
	req.Header.Set("User-Agent", "spoor")
	req.Header.Set(headerForwarded, "1")
	places := &c.s.forwards.waits
	if c.ctx.QueryArgs().GetUintOrZero("wait") > 0 { // its headers come when it has waited
		places = &c.s.forwards.polls
	}
	if !places.take(node) {
		end()
		return nil, errForwardsMax
	}
	resp, err := c.s.forwards.client.Do(req)
	places.free(node)
	if err != nil {
		end()
		return nil, err
	}
	c.s.counters.forwarded.Add(1)
	resp.Body = &nodeBody{ReadCloser: resp.Body, end: end, silent: time.AfterFunc(nodeSilentFor, cancel)}
	return resp, nil
}

// nodeBody is the body of a node's answer. It breaks off where the node is
// silent for too long.
type nodeBody struct {
	io.ReadCloser
	end    func()
	silent *time.Timer
}

func (b *nodeBody) Read(p []byte) (int, error) {
	b.silent.Reset(nodeSilentFor)
	return b.ReadCloser.Read(p)
}

func (b *nodeBody) Close() error {
	b.silent.Stop()
	b.end()
	return b.ReadCloser.Close()
}

// unsent reports whether a request did not reach its node.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (c *call) unanswered(node string, err error) error {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	c.s.opt.Log.Warn("another node of the cluster does not answer", "node", node, "path", c.route.pattern, "error", err)
	c.ctx.Response.Header.Set(headerNode, node)
	switch {
	case unsent(err):
		return errNodeAway
	case c.route.effect == still:
		return errNodeCut
	}
	return errNodeUnsure
}

// notPassed are headers of one connection, and those that are set here.
var notPassed = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Content-Length", "Date", "Server", "Set-Cookie",
}

// pass gives the answer of a node to the client: what is short whole, all else
// piece by piece as it comes.
func (c *call) pass(resp *http.Response, node string) error {
	c.passed = true
	h := &c.ctx.Response.Header
	own := strings.Split(resp.Header.Get("Connection"), ",")
	for name, values := range resp.Header {
		if !slices.Contains(notPassed, name) && !slices.ContainsFunc(own, func(s string) bool { return textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(s)) == name }) {
			h.Set(name, values[0])
		}
	}
	h.Set(headerNode, node)
	if c.ctx.IsHead() || resp.ContentLength >= 0 && resp.ContentLength <= passWholeMax {
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, passWholeMax))
		if err != nil {
			return c.unanswered(node, err)
		}
		c.ctx.SetStatusCode(resp.StatusCode)
		c.ctx.Response.SetBodyRaw(body)
		return nil
	}
	ended := context.AfterFunc(c.s.ending, func() { resp.Body.Close() })
	stop := func() {
		if ended() { // else it is closed already
			resp.Body.Close()
		}
	}
	err := c.startStream(resp.Header.Get("Content-Type"), "", func(w *bufio.Writer) error { return c.passOn(w, resp.Body) }, stop)
	if err != nil {
		stop()
		return err
	}
	c.ctx.SetStatusCode(resp.StatusCode)
	return nil
}

func (c *call) passOn(w *bufio.Writer, from io.Reader) error {
	piece := make([]byte, 32<<10)
	for {
		n, err := from.Read(piece)
		if c.endless() && c.accessEnded() { // the session, of which that node knows nothing
			return nil
		}
		if n > 0 {
			w.Write(piece[:n]) // Flush keeps its error
			if err := w.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if closing := c.s.closing(); closing != nil {
				return closing
			}
			return fmt.Errorf("another node broke off: %w", err)
		}
	}
}

// endless reports whether the answer follows what happens.
func (c *call) endless() bool { return c.route.action == "tail" || c.route.action == "feed" }

// elsewhere reports whether another node has an app.
func (s *Server) elsewhere(app *spoor.App) bool {
	if s.opt.Nodes == nil {
		return false
	}
	_, elsewhere := s.opt.Nodes.Of(app.Name)
	return elsewhere
}
