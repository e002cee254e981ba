package query

import (
	"bytes"
	"embed"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	appPath       = "/app"
	loginBytesMax = 4 << 10
)

//go:embed app
var appFiles embed.FS

var appPages = template.Must(template.ParseFS(appFiles, "app/page.html"))

// contentPolicy lets a page load what is served beside it and nothing else;
// nothing inline, no frames, no forms that lead elsewhere.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var (
	errNoSession   = detail(fasthttp.StatusUnauthorized, "There is no session, or it has ended; log in at /app/.")
	errOtherSite   = detail(fasthttp.StatusForbidden, "This request came from another site; nothing was done.")
	errNoAppHeader = detail(fasthttp.StatusForbidden, "Changes within a session need the header X-Spoor-App, which no other site can send; nothing was done.")
	errLoginForm   = detail(fasthttp.StatusUnsupportedMediaType, "Send the token as a form, application/x-www-form-urlencoded.")
	errLoginLarge  = detail(fasthttp.StatusRequestEntityTooLarge, "The form is larger than 4 KiB.")
)

// AppHandler serves /app/, the read side behind a login, from within another
// fasthttp server, as Handler does; what is not below /app goes to next, or is
// answered 404 if that is nil. The address of a request must be the client's.
//
// A login with a token, or with the control plane's secret, opens a session;
// with its cookie /app/api/… answers as /api/… does with that token.
func (s *Server) AppHandler(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	if next == nil {
		next = func(ctx *fasthttp.RequestCtx) { s.refuse(ctx, errNotFound) }
	}
	return func(ctx *fasthttp.RequestCtx) {
		uri := ctx.RequestURI()
		if rest, ok := bytes.CutPrefix(uri, []byte(appPath)); ok && (len(rest) == 0 || rest[0] == '/' || rest[0] == '?') {
			s.handle(ctx, doorApp)
			return
		}
		next(ctx)
	}
}

// page is what is below /app/ beside the API.
type page struct {
	methods string // for the Allow header
	serve   func(*call) error
}

var appPaths = map[string]page{
	"":           {"GET, HEAD", (*call).appRoot},
	"/":          {"GET, HEAD", (*call).appHome},
	"/tail":      {"GET, HEAD", (*call).appTail},
	"/style.css": {"GET, HEAD", file("app/style.css", "text/css; charset=utf-8")},
	"/tail.js":   {"GET, HEAD", file("app/tail.js", "text/javascript; charset=utf-8")},
	"/login":     {"POST", (*call).login},
	"/logout":    {"POST", (*call).logout},
}

// answerApp serves a page; path is without /app.
func (c *call) answerApp(path string) {
	h := &c.ctx.Response.Header
	p, ok := appPaths[path]
	method := string(c.ctx.Method())
	switch {
	case !ok:
		c.s.refuse(c.ctx, errNotFound)
		return
	case method == fasthttp.MethodOptions:
		h.Set("Allow", p.methods+", OPTIONS")
		return
	case !slices.Contains(strings.Split(p.methods, ", "), method):
		h.Set("Allow", p.methods+", OPTIONS")
		c.s.refuse(c.ctx, detail(fasthttp.StatusMethodNotAllowed, "This path takes "+p.methods+"."))
		return
	}
	c.route = &route{method: method, pattern: appPath + path}
	if err := p.serve(c); err != nil {
		c.fail(err)
	}
}

// guard keeps what a browser makes of a reply within this origin.
func (c *call) guard() {
	h := &c.ctx.Response.Header
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Referrer-Policy", "same-origin") // with none at all forms would be sent without their origin
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func file(name, contentType string) func(*call) error {
	data, err := appFiles.ReadFile(name)
	if err != nil {
		panic("BUG: " + name + " is not embedded")
	}
	return func(c *call) error {
		c.ctx.Response.Header.SetContentType(contentType)
		c.ctx.SetBody(data)
		return nil
	}
}

func (c *call) cookie() []byte { return c.ctx.Request.Header.Cookie(sessionCookie) }

func (c *call) appRoot() error { return c.seeOther(appPath + "/") }

// seeOther is written by hand: fasthttp would make the address absolute, by
// the Host that the client sent.
func (c *call) seeOther(path string) error {
	c.ctx.SetStatusCode(fasthttp.StatusSeeOther)
	c.ctx.Response.Header.Set("Location", path)
	return nil
}

type link struct{ Path, Text, About string }

// appHome is the login, or what the session may read.
func (c *call) appHome() error {
	who, ok := c.s.visitor(c.cookie(), true)
	if !ok {
		return c.showLogin(fasthttp.StatusOK, "")
	}
	const api = appPath + "/api"
	title, links := "Control plane", []link{
		{api + "/admin/apps/", "Apps", "with their keys, tokens and settings"},
		{api + "/admin/receipts/", "Receipts", "what was removed, and since when no byte is left"},
		{api + "/admin/privacy/", "Record of processing", "of all apps"},
		{api + "/admin/audit/", "Audit log", "of what is about no app"},
	}
	if who.app != nil {
		title, links = who.app.Name, []link{
			{api + "/public/users/", "Users", "profiles, 100 a page"},
			{api + "/partitions", "Partitions", "days with hits, profiles and bytes"},
			{appPath + "/tail", "Tail", "hits as they are stored"},
		}
		if who.role.Allows(spoor.RoleAdmin) {
			own := api + "/admin/apps/" + who.app.Name
			links = append(links,
				link{own + "/receipts/", "Receipts", "what was removed, and since when no byte is left"},
				link{own + "/audit/", "Audit log", "who read, exported, changed or erased what"},
				link{own + "/", "Settings", "with keys and tokens"})
		}
	}
	return c.show(fasthttp.StatusOK, "home", struct {
		Title, Name string
		Role        spoor.Role
		Links       []link
	}{title, who.name, who.role, links})
}

func (c *call) appTail() error {
	who, ok := c.s.visitor(c.cookie(), true)
	if !ok || who.app == nil {
		return c.seeOther(appPath + "/")
	}
	return c.show(fasthttp.StatusOK, "tail", struct{ Title string }{who.app.Name})
}

func (c *call) showLogin(status int, trouble string) error {
	return c.show(status, "login", struct{ Trouble string }{trouble})
}

func (c *call) show(status int, name string, data any) error {
	var out bytes.Buffer
	if err := appPages.ExecuteTemplate(&out, name, data); err != nil {
		return err
	}
	c.ctx.SetStatusCode(status)
	c.ctx.Response.Header.SetContentType("text/html; charset=utf-8")
	c.ctx.SetBody(out.Bytes())
	return nil
}

// login opens a session for a token. The session is always a new one, and one
// that the browser had is over: nobody can prepare one for somebody else.
func (c *call) login() error {
	if !c.sameOrigin() {
		return errOtherSite
	}
	secret, err := c.loginSecret()
	if err != nil {
		return err
	}
	now := c.s.opt.Now()
	takeBack, wait := c.s.attempts.begin(addressOf(c.ctx.RemoteAddr()), now)
	if wait > 0 {
		c.s.counters.loginsFailed.Add(1)
		c.ctx.Response.Header.Set("Retry-After", strconv.Itoa(wait))
		return c.showLogin(fasthttp.StatusTooManyRequests, "Too many attempts; wait a minute.")
	}
	who, err := c.s.authenticateSecret(secret, true)
	if err != nil {
		c.s.counters.loginsFailed.Add(1)
		c.s.counters.denied.Add(1)
		c.ctx.Response.Header.Set("WWW-Authenticate", "Token")
		return c.showLogin(fasthttp.StatusUnauthorized, "This token is not known, or has expired.")
	}
	takeBack()
	c.s.sessions.close(c.cookie())
	var app spoor.AppID
	if who.app != nil {
		app = who.app.ID
	}
	c.setCookie(c.s.sessions.open(app, spoor.HashToken(string(secret)), now))
	c.s.counters.logins.Add(1)
	return c.seeOther(appPath + "/")
}

func (c *call) loginSecret() ([]byte, error) {
	kind, _, _ := bytes.Cut(c.ctx.Request.Header.ContentType(), []byte(";"))
	if !bytes.EqualFold(bytes.TrimSpace(kind), []byte("application/x-www-form-urlencoded")) {
		return nil, errLoginForm
	}
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	if len(body) > loginBytesMax {
		return nil, errLoginLarge
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errLoginForm
	}
	return []byte(strings.TrimSpace(form.Get("token"))), nil
}

func (c *call) logout() error {
	if !c.sameOrigin() {
		return errOtherSite
	}
	c.s.sessions.close(c.cookie())
	c.setCookie("")
	return c.seeOther(appPath + "/")
}

// authenticateSession is authenticate for /app/api/. SameSite keeps the cookie
// out of what other sites send; where a browser does not know that, the header
// does, which only a page of this origin can set.
func (c *call) authenticateSession() (actor, error) {
	c.session = bytes.Clone(c.cookie())
	who, ok := c.s.visitor(c.session, true)
	if !ok {
		return actor{}, errNoSession
	}
	if c.ctx.IsGet() || c.ctx.IsHead() {
		return who, nil
	}
	if !c.sameOrigin() {
		return actor{}, errOtherSite
	}
	if len(c.ctx.Request.Header.Peek("X-Spoor-App")) == 0 {
		return actor{}, errNoAppHeader
	}
	return who, nil
}

// sameOrigin reports whether a request began on a page of ours, by what
// browsers add to it and no page can change; other programs add neither.
func (c *call) sameOrigin() bool {
	h := &c.ctx.Request.Header
	if site := h.Peek("Sec-Fetch-Site"); len(site) > 0 {
		return string(site) == "same-origin"
	}
	origin := string(h.Peek("Origin"))
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Host, string(c.ctx.Host())) || c.s.opt.PublicURL != "" && origin == c.s.opt.PublicURL
}

// secure reports whether the client speaks https, to us or to what stands
// before us.
func (c *call) secure() bool {
	return c.ctx.IsTLS() || strings.HasPrefix(c.s.opt.PublicURL, "https://")
}
