package query

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// envelope sends one page. Next and previous are queries such as "page=2", or
// empty; count is negative where it is not known.
func (c *call) envelope(results *jsonWriter, count int64, next, previous string) error {
	var w jsonWriter
	w.begin('{')
	if count < 0 {
		w.null("count")
	} else {
		w.int("count", count)
	}
	w.textOrNull("next", c.link(next))
	w.textOrNull("previous", c.link(previous))
	w.key("results")
	w.b = append(w.b, '[')
	w.b = append(w.b, results.b...)
	w.end(']')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// link is the absolute address of another page of this path.
func (c *call) link(query string) string {
	if query == "" {
		return ""
	}
	path, _, _ := strings.Cut(string(c.ctx.RequestURI()), "?")
	if c.who.local {
		query += "&app=" + url.QueryEscape(c.app.Name)
	}
	return c.base() + strings.TrimSuffix(path, "/") + "/?" + query
}

// base is scheme and host of the addresses in replies.
func (c *call) base() string {
	switch {
	case c.s.opt.PublicURL != "":
		return c.s.opt.PublicURL
	case c.ctx.IsTLS():
		return "https://" + string(c.ctx.Host())
	}
	return "http://" + string(c.ctx.Host())
}

// pageNumber is the page asked for, from 1.
func (c *call) pageNumber() (int64, error) {
	v, err := c.query("page")
	if err != nil {
		return 0, err
	}
	if v == "" {
		return 1, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || n > 1<<40 {
		return 0, errInvalidPage
	}
	return n, nil
}

// neighbours are the queries of the pages around a numbered one.
func neighbours(page int64, more bool) (next, previous string) {
	if more {
		next = "page=" + strconv.FormatInt(page+1, 10)
	}
	if page > 1 {
		previous = "page=" + strconv.FormatInt(page-1, 10)
	}
	return next, previous
}

// cursorKind keeps the cursor of one list from being used in another.
type cursorKind byte

const (
	cursorUsers cursorKind = 1 + iota
	cursorHistory
	cursorMembers
	cursorCatalogue
)

// seal packs a position into an opaque cursor. It is encrypted because
// internal numbers are never shown, and cannot be made up.
func (s *Server) seal(kind cursorKind, app spoor.AppID, position int64) string {
	var block [16]byte
	block[0] = byte(kind)
	binary.BigEndian.PutUint32(block[4:], uint32(app))
	binary.BigEndian.PutUint64(block[8:], uint64(position))
	s.cursors.Encrypt(block[:], block[:])
	return base64.RawURLEncoding.EncodeToString(block[:])
}

// open is the reverse of seal.
func (s *Server) open(kind cursorKind, app spoor.AppID, cursor string) (position int64, err error) {
	var block [16]byte
	if len(cursor) != base64.RawURLEncoding.EncodedLen(len(block)) {
		return 0, errInvalidCursor
	}
	if _, err := base64.RawURLEncoding.Decode(block[:], []byte(cursor)); err != nil {
		return 0, errInvalidCursor
	}
	s.cursors.Decrypt(block[:], block[:])
	if binary.BigEndian.Uint32(block[:]) != uint32(kind)<<24 || binary.BigEndian.Uint32(block[4:]) != uint32(app) {
		return 0, errInvalidCursor
	}
	return int64(binary.BigEndian.Uint64(block[8:])), nil
}

// cursor is the position asked for; 0 without a cursor.
func (c *call) cursor(kind cursorKind) (int64, error) {
	v, err := c.query("cursor")
	if err != nil || v == "" {
		return 0, err
	}
	return c.s.open(kind, c.app.ID, v)
}

// marks remember where numbered pages of users begin. Without them page n
// would walk over all profiles before it, and reading all pages would be
// quadratic; and a reader who follows the pages would miss a profile whenever
// one on an earlier page vanishes.
type marks struct {
	mu    sync.Mutex
	after map[mark]spoor.Number
}

type mark struct {
	app  spoor.AppID
	in   collection
	page int64
}

const marksMax = 10_000

// at returns the number behind which the page begins, and how many profiles
// are still to be skipped.
func (m *marks) at(at mark) (after spoor.Number, skip int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.after[at]; ok {
		return n, 0
	}
	return 0, (at.page - 1) * pageSize
}

func (m *marks) set(at mark, after spoor.Number) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.after == nil || len(m.after) >= marksMax {
		m.after = map[mark]spoor.Number{}
	}
	m.after[at] = after
}
