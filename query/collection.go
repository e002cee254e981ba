package query

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// collectionRoutes are the paths of tags, lists and segments, and of who has
// them.
func collectionRoutes() (table []route) {
	for _, k := range []struct {
		kind spoor.CollectionKind
		name string
	}{{spoor.CollectionTag, "tags"}, {spoor.CollectionList, "lists"}, {spoor.CollectionSegment, "segments"}} {
		all := publicPrefix + k.name + "/"
		if k.kind == spoor.CollectionSegment {
			table = append(table,
				route{"POST", all + "preview/", scopeApp, read, "segments.preview", still, (*call).previewSegment},
				route{"GET", all + ":id/history/", scopeApp, read, "", still, (*call).segmentHistory},
				route{"GET", "/api/segments/", scopeApp, read, "", still, (*call).allSegments},
			)
		}
		one := all + ":id/"
		of := func(serve func(*call, spoor.CollectionKind) error) func(*call) error {
			return func(c *call) error { return serve(c, k.kind) }
		}
		table = append(table,
			route{"GET", all, scopeApp, read, "", still, of((*call).listCollections)},
			route{"POST", all, scopeApp, write, k.name + ".create", logged, of((*call).createCollection)},
			route{"GET", one, scopeApp, read, "", still, of((*call).readCollection)},
			route{"PUT", one, scopeApp, write, k.name + ".update", logged, of((*call).updateCollection)},
			route{"PATCH", one, scopeApp, write, k.name + ".update", logged, of((*call).updateCollection)},
			route{"DELETE", one, scopeApp, write, k.name + ".delete", logged, of((*call).deleteCollection)},
			route{"GET", one + "users/", scopeApp, read, k.name + ".users", still, of((*call).listMembers)},
			route{"GET", one + "companies/", scopeApp, read, "", still, of((*call).listCompanies)},
		)
	}
	return table
}

// countFor is how long one reply counts the people of collections; what is not
// counted then is null.
const countFor = 2 * time.Second

// sizer counts the people of collections for one reply.
type sizer struct {
	c     *call
	until time.Time
}

func (c *call) sizer() sizer { return sizer{c, time.Now().Add(countFor)} }

// size fills the size of a collection, if there is time left.
func (s sizer) size(of *spoor.Collection) (err error) {
	if of.Size = -1; time.Now().Before(s.until) {
		of.Size, err = s.c.store.Members(s.c.app.ID, of, 0, nil)
	}
	return err
}

// listCollections gives a page of a catalogue, with the number of people.
func (c *call) listCollections(kind spoor.CollectionKind) error {
	if err := c.onlyQuery("page", "cursor", "page_size"); err != nil {
		return err
	}
	all, err := c.store.Collections(c.app.ID, kind)
	if err != nil {
		return err
	}
	page, err := c.pageNumber()
	if err != nil {
		return err
	}
	behind, err := c.cursor(cursorCatalogue)
	if err != nil {
		return err
	}
	left := all
	if c.v2 {
		for len(left) > 0 && int64(left[0].ID) <= behind {
			left = left[1:]
		}
	} else {
		left = left[min(int64(len(left)), (page-1)*pageSize):]
	}
	shown := left[:min(len(left), pageSize)]
	var w jsonWriter
	sizes := c.sizer()
	for i := range shown {
		if err := sizes.size(&shown[i]); err != nil {
			return err
		}
		c.writeCollection(&w, &shown[i])
	}
	more := len(left) > len(shown)
	next, previous := neighbours(page, more)
	if c.v2 {
		next, previous = "", ""
		if more {
			next = "cursor=" + c.s.seal(cursorCatalogue, c.app.ID, int64(shown[len(shown)-1].ID))
		}
	}
	return c.envelope(&w, int64(len(all)), next, previous)
}

// writeCollection appends a tag, a list or a segment, with the names that
// clients know of each.
func (c *call) writeCollection(w *jsonWriter, x *spoor.Collection) {
	w.begin('{')
	w.int("id", int64(x.ID))
	w.text("name", x.Name)
	if x.Kind != spoor.CollectionTag {
		w.text("description", x.Description)
	}
	count := func(name string) {
		if x.Size < 0 {
			w.null(name)
		} else {
			w.int(name, x.Size)
		}
	}
	if x.Kind == spoor.CollectionSegment {
		path := publicPrefix + "segments/" + strconv.Itoa(int(x.ID)) + "/users/"
		if c.door == doorApp {
			path = appPath + path
		}
		w.text("users", c.base()+path)
		count("object_count")
		w.raw("filter", x.Filter.JSON())
	}
	count("count")
	if x.Kind == spoor.CollectionSegment {
		w.bool("watched", x.Watched)
	}
	w.time("created_at", x.Created)
	w.end('}')
}

// collection finds the one that the path names.
func (c *call) collection(kind spoor.CollectionKind) (*spoor.Collection, error) {
	id, numeric := publicID(c.args[0])
	if !numeric || id > 1<<31 {
		return nil, errNotFound
	}
	x, err := c.store.Collection(c.app.ID, kind, uint32(id))
	if err == nil && x == nil {
		err = errNotFound
	}
	return x, err
}

func (c *call) replyCollection(status int, x *spoor.Collection) error {
	return c.finish(func(c *call) error {
		if err := c.sizer().size(x); err != nil {
			return err
		}
		var w jsonWriter
		c.writeCollection(&w, x)
		return c.reply(status, &w)
	})
}

func (c *call) readCollection(kind spoor.CollectionKind) error {
	x, err := c.collection(kind)
	if err != nil {
		return err
	}
	return c.replyCollection(fasthttp.StatusOK, x)
}

// fillCollection takes name, description, filter and watched from the body;
// fields that are not there stay.
func (c *call) fillCollection(x *spoor.Collection) error {
	fields, err := c.readFields()
	if err != nil {
		return err
	}
	var errs fieldErrors
	text := func(f member, to *string) {
		switch f.value.Kind() {
		case '"':
			*to = unquote(f.value)
		case 'n':
			*to = ""
		default:
			errs.add(f.name, "Not a valid string.")
		}
	}
	for _, f := range fields {
		switch {
		case f.name == "name":
			text(f, &x.Name)
		case f.name == "description":
			text(f, &x.Description)
		case f.name == "filter" && x.Kind == spoor.CollectionSegment:
			if x.Filter, err = parseFilter(f.value); err != nil {
				return err
			}
		case f.name == "watched" && x.Kind == spoor.CollectionSegment:
			if x.Watched = f.value.Kind() == 't'; !x.Watched && f.value.Kind() != 'f' {
				errs.add(f.name, "Must be a valid boolean.")
			}
		}
	}
	return errs.err()
}

// readFields reads the body of a change.
func (c *call) readFields() ([]member, error) {
	if c.app.Closed {
		return nil, errClosedApp
	}
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	return members(body)
}

func parseFilter(v jsontext.Value) (*spoor.Filter, error) {
	if len(v) > spoor.FilterBytesMax {
		return nil, fieldError("filter", "The filter is longer than 16 KiB.")
	}
	f, err := spoor.ParseFilter(v)
	if err != nil {
		return nil, fieldError("filter", strings.ToUpper(err.Error()[:1])+err.Error()[1:]+".")
	}
	return f, nil
}

func (c *call) createCollection(kind spoor.CollectionKind) error {
	x := spoor.Collection{Kind: kind}
	if err := c.fillCollection(&x); err != nil {
		return err
	}
	return c.putCollection(fasthttp.StatusCreated, x)
}

func (c *call) updateCollection(kind spoor.CollectionKind) error {
	x, err := c.collection(kind)
	if err != nil {
		return err
	}
	if err := c.fillCollection(x); err != nil {
		return err
	}
	return c.putCollection(fasthttp.StatusOK, *x)
}

func (c *call) putCollection(status int, x spoor.Collection) error {
	x, err := c.store.PutCollection(c.app.ID, x)
	if err != nil {
		return err
	}
	c.changed = true
	return c.replyCollection(status, &x)
}

// deleteCollection takes a tag or list off everybody.
func (c *call) deleteCollection(kind spoor.CollectionKind) error {
	x, err := c.collection(kind)
	if err != nil {
		return err
	}
	if c.app.Closed {
		return errClosedApp
	}
	n := int64(0)
	if kind != spoor.CollectionSegment {
		if n, err = c.store.Members(c.app.ID, x, 0, nil); err != nil {
			return err
		}
	}
	if err := c.store.DeleteCollection(c.app.ID, kind, x.ID); err != nil {
		return err
	}
	c.changed, c.subjects = true, int(n)
	c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// listMembers gives a page of the users in a tag, list or segment.
func (c *call) listMembers(kind spoor.CollectionKind) error {
	if err := c.onlyQuery("page", "cursor", "page_size"); err != nil {
		return err
	}
	x, err := c.collection(kind)
	if err != nil {
		return err
	}
	count, err := c.store.Members(c.app.ID, x, 0, nil)
	if err != nil {
		return err
	}
	return c.listPeople(people{kind: cursorMembers, in: collection{kind, x.ID}, walk: func(after spoor.Number, fn func(*spoor.Profile) error) error {
		_, err := c.store.Members(c.app.ID, x, after, fn)
		return err
	}}, count)
}

func (c *call) listCompanies(kind spoor.CollectionKind) error {
	if _, err := c.collection(kind); err != nil {
		return err
	}
	return errNoCompanies
}

// allSegments lists all segments in one reply.
func (c *call) allSegments() error {
	if err := c.onlyQuery(); err != nil {
		return err
	}
	all, err := c.store.Collections(c.app.ID, spoor.CollectionSegment)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.key("segments")
	w.begin('[')
	sizes := c.sizer()
	for i := range all {
		if err := sizes.size(&all[i]); err != nil {
			return err
		}
		c.writeCollection(&w, &all[i])
	}
	w.end(']')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// previewSegment counts who is in a segment that is not saved.
func (c *call) previewSegment() error {
	body, err := c.body()
	if err != nil {
		return err
	}
	fields, err := members(body)
	if err != nil {
		return err
	}
	x := spoor.Collection{Kind: spoor.CollectionSegment}
	for _, f := range fields {
		if f.name == "filter" {
			if x.Filter, err = parseFilter(f.value); err != nil {
				return err
			}
		}
	}
	if x.Filter == nil {
		return fieldError("filter", "This field is required.")
	}
	n, err := c.store.Members(c.app.ID, &x, 0, nil)
	if err != nil {
		return err
	}
	c.subjects = int(n)
	var w jsonWriter
	w.begin('{')
	w.int("count", n)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// historyDays is for how many days sizes are kept.
const historyDays = 400

// segmentHistory gives the sizes of a segment by day. That of today is the size
// now, until it is noted.
func (c *call) segmentHistory() error {
	if err := c.onlyQuery("days"); err != nil {
		return err
	}
	x, err := c.collection(spoor.CollectionSegment)
	if err != nil {
		return err
	}
	text, err := c.query("days")
	if err != nil {
		return err
	}
	days := 30
	if text != "" {
		if days, err = strconv.Atoi(text); err != nil || days < 1 || days > historyDays {
			return fieldError("days", "Give a whole number from 1 to 400.")
		}
	}
	today := c.app.Day(c.now.UnixMilli())
	list, err := c.store.Sizes(c.app.ID, x.ID, today-spoor.Day(days)+1, today)
	if err != nil {
		return err
	}
	if len(list) == 0 || list[len(list)-1].Day != today {
		n, err := c.store.Members(c.app.ID, x, 0, nil)
		if err != nil {
			return err
		}
		list = append(list, spoor.Size{Day: today, Count: n})
	}
	var w jsonWriter
	w.begin('{')
	w.key("points")
	w.begin('[')
	for _, p := range list {
		w.begin('{')
		w.text("at", p.Day.String())
		w.int("value", p.Count)
		w.end('}')
	}
	w.end(']')
	first, last := list[0].Count, list[len(list)-1].Count
	if w.key("change"); first == 0 {
		w.b = append(w.b, "null"...)
	} else {
		w.b = jsontext.AppendFloat(w.b, float64(last-first)/float64(first), 64)
	}
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// segmentsOf lists the segments in which a person is now.
func (c *call) segmentsOf() error {
	if err := c.onlyQuery("page", "cursor", "page_size"); err != nil {
		return err
	}
	p, err := c.person()
	if err != nil {
		return err
	}
	list, err := c.store.SegmentsOf(c.app.ID, p.Number)
	if err != nil {
		return err
	}
	page, err := c.pageNumber()
	if err != nil {
		return err
	}
	behind, err := c.cursor(cursorCatalogue)
	if err != nil {
		return err
	}
	all := int64(len(list))
	if page > 1 || behind != 0 {
		list = nil // all are on the first page
	}
	var w jsonWriter
	for i := range list {
		c.writeCollection(&w, &list[i])
	}
	return c.envelope(&w, all, "", "")
}

// readNames reads a body that names tags or one list.
func (c *call) readNames(names ...string) (jsontext.Value, error) {
	fields, err := c.readFields()
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		for _, name := range names {
			if f.name == name && f.value.Kind() != 'n' {
				return f.value, nil
			}
		}
	}
	return nil, fieldError(names[0], "This field is required.")
}

// addTag takes {"name":T}.
func (c *call) addTag() error {
	p, err := c.person()
	if err != nil {
		return err
	}
	v, err := c.readNames("name", "tag")
	if err != nil {
		return err
	}
	if v.Kind() != '"' {
		return fieldError("name", "Not a valid string.")
	}
	name, err := spoor.CollectionName(unquote(v))
	if err != nil {
		return err
	}
	had := hasTag(p, name)
	if _, _, err = c.apply(&spoor.Edit{Number: p.Number, TagAdd: []string{name}}, nil); err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.bool("created", !had)
	w.key("tag")
	w.begin('{')
	w.text("name", name)
	w.end('}')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

func hasTag(p *spoor.Profile, name string) bool {
	for i := range p.Collections {
		if c := &p.Collections[i]; c.Kind == spoor.CollectionTag && c.Name == name {
			return true
		}
	}
	return false
}

// addManyTags takes {"tag_names":[T,…]}.
func (c *call) addManyTags() error {
	return c.changeTags(func(e *spoor.Edit, names []string) { e.TagAdd = names }, "tag_names", "tags")
}

// removeTag takes {"name":T}. A tag that the user does not have is no error.
func (c *call) removeTag() error {
	return c.changeTags(func(e *spoor.Edit, names []string) { e.TagDrop = names }, "name", "tag")
}

func (c *call) changeTags(change func(*spoor.Edit, []string), fields ...string) error {
	p, err := c.person()
	if err != nil {
		return err
	}
	v, err := c.readNames(fields...)
	if err != nil {
		return err
	}
	names := []string{}
	if v.Kind() == '"' {
		names = append(names, unquote(v)) // one name, which may hold a comma
	} else {
		var objects, ok bool
		if names, objects, ok = tagNames(v); !ok || objects {
			return fieldError(fields[0], "Give a list of names.")
		}
	}
	e := &spoor.Edit{Number: p.Number}
	change(e, names)
	if p, _, err = c.apply(e, nil); err != nil {
		return err
	}
	return c.replyUser(fasthttp.StatusOK, p)
}

// addToList takes {"list":ID}.
func (c *call) addToList() error {
	p, id, err := c.readList()
	if err != nil {
		return err
	}
	if _, _, err = c.apply(&spoor.Edit{Number: p.Number, ListAdd: []uint32{id}}, nil); err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.int("id", int64(id))
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// removeFromList takes {"list":ID}.
func (c *call) removeFromList() error {
	p, id, err := c.readList()
	if err != nil {
		return err
	}
	if p, _, err = c.apply(&spoor.Edit{Number: p.Number, ListDrop: []uint32{id}}, nil); err != nil {
		return err
	}
	return c.replyUser(fasthttp.StatusOK, p)
}

func (c *call) readList() (*spoor.Profile, uint32, error) {
	p, err := c.person()
	if err != nil {
		return nil, 0, err
	}
	v, err := c.readNames("list", "id")
	if err != nil {
		return nil, 0, err
	}
	text, _ := idText(v)
	id, err := strconv.ParseUint(text, 10, 31)
	if err != nil || id == 0 {
		return nil, 0, fieldError("list", "Not a valid id.")
	}
	return p, uint32(id), nil
}
