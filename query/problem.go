package query

import (
	"errors"
	"strconv"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// problem is an error that the client is told: a status and a JSON body.
type problem struct {
	status   int
	body     []byte
	retrySec int // 0: a repeat would fail again
}

func (p *problem) Error() string { return strconv.Itoa(p.status) + " " + string(p.body) }

// detail is a problem of the shape {"detail":"…"}. The text never repeats what
// the client sent.
func detail(status int, text string) *problem {
	var w jsonWriter
	w.begin('{')
	w.text("detail", text)
	w.end('}')
	return &problem{status: status, body: w.b}
}

func retry(p *problem, sec int) *problem {
	p.retrySec = sec
	return p
}

// fieldErrors collects what is wrong with the fields of a body, in their
// order.
type fieldErrors struct {
	names []string
	texts map[string][]string
}

func (f *fieldErrors) add(field, text string) {
	field = cut(field, nameBytesMax) // it may be the client's
	if f.texts == nil {
		f.texts = map[string][]string{}
	}
	if f.texts[field] == nil {
		f.names = append(f.names, field)
	}
	f.texts[field] = append(f.texts[field], text)
}

// err is nil if nothing was added, else a 400 {"errors":{"field":["…"]}}.
func (f *fieldErrors) err() error {
	if len(f.names) == 0 {
		return nil
	}
	var w jsonWriter
	w.begin('{')
	w.key("errors")
	w.begin('{')
	for _, name := range f.names {
		w.key(name)
		w.begin('[')
		for _, text := range f.texts[name] {
			w.item(text)
		}
		w.end(']')
	}
	w.end('}')
	w.end('}')
	return &problem{status: fasthttp.StatusBadRequest, body: w.b}
}

func fieldError(field, text string) error {
	return oneField(field, text)
}

func oneField(field, text string) *problem {
	var f fieldErrors
	f.add(field, text)
	p, _ := f.err().(*problem)
	return p
}

// The problems that several places report.
var (
	errNoCredentials = detail(fasthttp.StatusUnauthorized, "Authentication credentials were not provided.")
	errInvalidToken  = detail(fasthttp.StatusUnauthorized, "Invalid token.")
	errForbidden     = detail(fasthttp.StatusForbidden, "This token's role does not allow this.")
	errClosedApp     = detail(fasthttp.StatusForbidden, "This app is closed and takes no data.")
	errNotFound      = detail(fasthttp.StatusNotFound, "Not found.")
	errBadQuery      = detail(fasthttp.StatusBadRequest, "A query value is too long or is not valid text.")
	errNoCompanies   = detail(fasthttp.StatusNotImplemented, "Companies are not built; /v1/group is kept as a hit.")
	errNoFilters     = detail(fasthttp.StatusNotImplemented, "A parameter of the query is not known; filters are not built. Read all pages of /users/, or search by key, email, user_id or phone_number.")
	errInvalidPage   = detail(fasthttp.StatusNotFound, "Invalid page.")
	errInvalidCursor = detail(fasthttp.StatusNotFound, "Invalid cursor.")
	errInternal      = detail(fasthttp.StatusInternalServerError, "The server met an error; it is in its log.")
	errBusy          = retry(detail(fasthttp.StatusServiceUnavailable, "The server is busy; nothing was changed, send it again."), 1)
	errReadOnly      = retry(detail(fasthttp.StatusServiceUnavailable, "The disk is almost full, so nothing can be changed; reading works."), 30)
	errClosing       = retry(detail(fasthttp.StatusServiceUnavailable, "The server is shutting down; send it again."), 5)
	errStreams       = retry(detail(fasthttp.StatusServiceUnavailable, "Too many exports and tails are open; end one or try again later."), 5)
	errHTTP10        = detail(fasthttp.StatusHTTPVersionNotSupported, "Streams need HTTP/1.1, or a part could be taken for the whole.")
	errTooLarge      = detail(fasthttp.StatusRequestEntityTooLarge, "The body is larger than 1 MiB.")
	errEncoding      = detail(fasthttp.StatusUnsupportedMediaType, "Send the body as plain JSON, without Content-Encoding.")
)

// problemOf turns any error into what the client is told; known is false for
// errors that the operator should hear of.
func problemOf(err error) (p *problem, known bool) {
	var held *spoor.HeldError
	var bad *spoor.QueryError
	var refused *spoor.CollectionError
	var gap *spoor.FeedGap
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.Is(err, spoor.ErrBusy):
		return errBusy, true
	case errors.Is(err, spoor.ErrReadOnly):
		return errReadOnly, true
	case errors.Is(err, spoor.ErrClosed):
		return errClosing, true
	case errors.Is(err, spoor.ErrNoProfile), errors.Is(err, spoor.ErrNoCollection):
		return errNotFound, true
	case errors.Is(err, spoor.ErrNumberTaken):
		return errNumberTaken, true
	case errors.As(err, &gap):
		return errGone(gap), true
	case errors.As(err, &bad):
		return oneField(bad.Field, bad.Text), true
	case errors.As(err, &refused):
		return oneField(refused.Field, refused.What), true
	case errors.As(err, &held):
		return detail(fasthttp.StatusConflict, "Nothing was removed: "+held.Error()+"."), true
	}
	return errInternal, false
}
