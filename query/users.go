package query

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// listUsers gives a page of all users: numbered in version 1, by cursor in
// version 2.
func (c *call) listUsers() error {
	if err := c.onlyQuery("page", "cursor", "page_size"); err != nil {
		return err
	}
	count, err := c.store.ProfileCount(c.app.ID)
	if err != nil {
		return err
	}
	return c.listPeople(people{kind: cursorUsers, walk: func(after spoor.Number, fn func(*spoor.Profile) error) error {
		return c.store.Profiles(c.app.ID, after, fn)
	}}, count)
}

// people are profiles that are shown in pages.
type people struct {
	kind cursorKind
	in   collection // none: all profiles of the app
	walk func(after spoor.Number, fn func(*spoor.Profile) error) error
}

// collection names a tag, a list or a segment.
type collection struct {
	kind spoor.CollectionKind
	id   uint32
}

func (c *call) listPeople(l people, count int64) error {
	if c.v2 {
		return c.listByCursor(l, count)
	}
	page, err := c.pageNumber()
	if err != nil {
		return err
	}
	after, skip := c.s.marks.at(mark{c.app.ID, l.in, page})
	if skip >= count && page > 1 {
		next, previous := neighbours(page, false)
		return c.envelope(&jsonWriter{}, count, next, previous)
	}
	results, last, more, err := c.userPage(l, after, skip)
	if err != nil {
		return err
	}
	if more {
		c.s.marks.set(mark{c.app.ID, l.in, page + 1}, last)
	}
	next, previous := neighbours(page, more)
	return c.envelope(results, count, next, previous)
}

func (c *call) listByCursor(l people, count int64) error {
	after, err := c.cursor(l.kind)
	if err != nil {
		return err
	}
	results, last, more, err := c.userPage(l, spoor.Number(after), 0)
	if err != nil {
		return err
	}
	next := ""
	if more {
		next = "cursor=" + c.s.seal(l.kind, c.app.ID, int64(last))
	}
	return c.envelope(results, count, next, "")
}

// userPage writes up to a page of users; more tells whether others follow.
func (c *call) userPage(l people, after spoor.Number, skip int64) (w *jsonWriter, last spoor.Number, more bool, err error) {
	w = &jsonWriter{}
	err = l.walk(after, func(p *spoor.Profile) error {
		if skip > 0 {
			skip--
			return nil
		}
		if c.subjects == pageSize {
			more = true
			return ErrStop
		}
		writeUser(w, p, c.v2)
		last = p.Number
		c.subjects++
		return nil
	})
	if errors.Is(err, ErrStop) {
		err = nil
	}
	return w, last, more, err
}

// person finds the profile that the path names: by its public id, or by the
// customer's own id, which some clients also put in the place of the first.
func (c *call) person() (*spoor.Profile, error) {
	id := c.args[0]
	var p *spoor.Profile
	var err error
	if n, numeric := publicID(id); numeric && strings.Contains(c.route.pattern, "/:id/") {
		p, err = c.store.ProfileByID(c.app.ID, n)
	} else {
		p, err = c.firstBy(spoor.LookupUserID, id)
	}
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errNotFound
	}
	c.about(p)
	return p, nil
}

// about tells the audit whom the request concerns.
func (c *call) about(p *spoor.Profile) {
	c.subjects, c.subject = 1, p.ID
}

func publicID(s string) (n int64, ok bool) {
	if s == "" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// firstBy is the oldest profile that an identifier leads to; nil if none.
func (c *call) firstBy(by spoor.Lookup, value string) (*spoor.Profile, error) {
	numbers, err := c.store.Find(c.app.ID, by, value)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	return c.store.Profile(c.app.ID, numbers[0])
}

func (c *call) readUser() error {
	p, err := c.person()
	if err != nil {
		return err
	}
	return c.replyUser(fasthttp.StatusOK, p)
}

func (c *call) replyUser(status int, p *spoor.Profile) error {
	var w jsonWriter
	writeUser(&w, p, c.v2)
	return c.reply(status, &w)
}

func (c *call) companies() error { return errNoCompanies }

// lookups are the query names by which users are searched, in order of
// precedence.
var lookups = []struct {
	name string
	by   spoor.Lookup
}{
	{"key", spoor.LookupKey},
	{"email", spoor.LookupEmail},
	{"user_id", spoor.LookupUserID},
	{"custom_id", spoor.LookupUserID},
	{"phone_number", spoor.LookupPhone},
	{"phone", spoor.LookupPhone},
}

// searchMax bounds the answer with many=true.
const searchMax = 1000

// searchUsers finds users by one identifier: one object, or with many=true an
// array.
func (c *call) searchUsers() error {
	if err := c.onlyQuery("key", "email", "user_id", "custom_id", "phone_number", "phone", "many"); err != nil {
		return err
	}
	numbers, err := c.search()
	if err != nil {
		return err
	}
	many, err := c.query("many")
	if err != nil {
		return err
	}
	if many = strings.TrimSuffix(strings.ToLower(many), "/"); many == "true" || many == "1" {
		return c.replyMany(numbers)
	}
	for _, n := range numbers {
		p, err := c.store.Profile(c.app.ID, n)
		if err != nil {
			return err
		}
		if p != nil {
			c.about(p)
			return c.replyUser(fasthttp.StatusOK, p)
		}
	}
	return errNotFound
}

// search tries the value as it is, then as sloppy clients mean it: with a
// slash behind it, or with a plus sign that they did not encode.
func (c *call) search() ([]spoor.Number, error) {
	for _, l := range lookups {
		value, err := c.query(l.name)
		if err != nil {
			return nil, err
		}
		if value == "" {
			continue
		}
		tries := []string{value}
		if l.by == spoor.LookupEmail && strings.Contains(value, " ") {
			tries[0] = strings.ReplaceAll(value, " ", "+")
		}
		if cut := strings.TrimSuffix(tries[0], "/"); cut != tries[0] && cut != "" {
			tries = append(tries, cut)
		}
		for _, try := range tries {
			numbers, err := c.store.Find(c.app.ID, l.by, try)
			if err != nil || len(numbers) > 0 {
				return numbers, err
			}
		}
		return nil, nil
	}
	return nil, detail(fasthttp.StatusBadRequest, "Give one of key, email, user_id, custom_id or phone_number.")
}

func (c *call) replyMany(numbers []spoor.Number) error {
	var w jsonWriter
	shown := 0
	w.begin('[')
	for _, n := range numbers[:min(len(numbers), searchMax)] {
		p, err := c.store.Profile(c.app.ID, n)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		shown++
		c.about(p)
		writeUser(&w, p, c.v2)
	}
	w.end(']')
	if shown != 1 {
		c.subjects, c.subject = shown, 0
	}
	return c.reply(fasthttp.StatusOK, &w)
}

// findAny lists the public ids of all whom a text may mean: a public id, cookie,
// user id, e-mail address or phone number. It is the first half of what the
// operator's commands do, whose other half is in the audit log; nobody else may.
func (c *call) findAny() error {
	if !c.who.local {
		return errNotFound
	}
	who, err := c.query("who")
	if err != nil {
		return err
	}
	var ids []int64
	if id, numeric := publicID(who); numeric {
		p, err := c.store.ProfileByID(c.app.ID, id)
		if err != nil {
			return err
		}
		if p != nil {
			ids = append(ids, p.ID)
		}
	}
	for _, kind := range whom(who) {
		numbers, err := c.store.Find(c.app.ID, kind, who)
		if err != nil {
			return err
		}
		for _, n := range numbers {
			ids = append(ids, c.store.PublicID(c.app.ID, n))
		}
	}
	slices.Sort(ids)
	var w jsonWriter
	w.begin('[')
	for _, id := range slices.Compact(ids) {
		w.begin('{')
		w.int("id", id)
		w.end('}')
	}
	w.end(']')
	return c.reply(fasthttp.StatusOK, &w)
}
