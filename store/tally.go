package store

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
)

// rowKey names a roll-up row of a day.
type rowKey struct {
	dim  spoor.Dimension
	text string
}

// A text that is longer (bytes) has its row under its beginning.
const rowTextMax = 255

// counted reports whether a hit adds to any statistics but the number of hits.
func counted(h *spoor.Hit) bool { return !h.Bot && h.Marks&spoor.MarkUncounted == 0 }

// countsOf is what one hit adds to every row it belongs to.
func countsOf(h *spoor.Hit) counts {
	c := counts{hits: 1, visitMS: h.Tally.Gap}
	if h.Tally.Timed {
		c.timed, c.pageMS = 1, h.Tally.Since
	}
	k := h.Kind.Counts()
	if k.View {
		c.views = 1
	}
	if k.Event {
		c.events = 1
	}
	if h.First {
		c.visits = 1
	}
	if h.Tally.Engaged {
		c.engaged = 1
	}
	return c
}

// addends is memory for what a hit adds to its rows: to most the same, another
// to that of its view, and to that of the view before. Made for each hit they
// were a tenth of all that the writer allocated.
type addends struct {
	one, view, end counts
	places         map[spoor.Place]placeTexts
}

// placeTexts are the texts of a place's rows. Few places make up most hits.
type placeTexts struct{ region, city string }

const placesMax = 1 << 12

func (a *addends) textsOf(p spoor.Place) placeTexts {
	t, ok := a.places[p]
	if ok {
		return t
	}
	if a.places == nil || len(a.places) >= placesMax {
		a.places = map[spoor.Place]placeTexts{}
	}
	if p.Region != "" {
		t.region = p.Country + "/" + p.Region
	}
	if p.City != "" {
		t.city = p.Country + "/" + p.Region + "/" + p.City
	}
	p = spoor.Place{Country: strings.Clone(p.Country), Region: strings.Clone(p.Region), City: strings.Clone(p.City)}
	a.places[p] = t
	return t
}

// rollUp names the rows of a day to which a counted hit adds, and what it adds.
// by says whether its profile is among those that brought the row. before is
// the row of the view before it, if it ended that; see viewBefore. declared are
// the properties that the day groups by. The writer,
// sealing and Check use it, so an open day's roll-ups are a scan of its hits.
func (a *addends) rollUp(app *spoor.App, declared []string, h *spoor.Hit, before rowKey, row func(key rowKey, add *counts, by bool)) {
	k := h.Kind.Counts()
	a.one = countsOf(h)
	some := func(dim spoor.Dimension, text string) {
		if text != "" {
			row(rowKey{dim, cutText(text)}, &a.one, true)
		}
	}
	if before.text != "" {
		a.end = endOf(h)
		row(before, &a.end, false)
	}
	if k.Event {
		some(spoor.DimEvent, h.Name)
	}
	if (k.Event || k.View) && len(h.Properties) > 0 {
		a.rollUpProperties(declared, h, k.Event, row)
	}
	if !k.Visitor && h.Visit == 0 {
		return
	}
	some(spoor.DimHour, hours[app.HourOf(h.Time)])
	if k.View {
		view := &a.view
		*view = a.one
		view.timed, view.pageMS = 0, 0 // of the view before
		if !h.Tally.Aside && h.Visit != 0 {
			view.exits = 1
		}
		if key := viewOf(h); key.text != "" {
			row(key, view, true)
		}
		if h.Kind == spoor.KindPage && h.Title != "" {
			view.exits = 0
			row(rowKey{spoor.DimTitle, cutText(h.Title)}, view, true)
		}
	}
	if h.First { // later referrers are the site's own, later campaigns are missing
		_, host := pathAndHost(h.Referrer)
		some(spoor.DimReferrer, host)
		some(spoor.DimChannel, h.Campaign.Channel)
		some(spoor.DimSource, h.Campaign.Source)
		some(spoor.DimMedium, h.Campaign.Medium)
		some(spoor.DimCampaign, h.Campaign.Name)
		some(spoor.DimTerm, h.Campaign.Term)
		some(spoor.DimContent, h.Campaign.Content)
	}
	some(spoor.DimCountry, h.Place.Country)
	place := a.textsOf(h.Place)
	some(spoor.DimRegion, place.region)
	some(spoor.DimCity, place.city)
	some(spoor.DimOS, h.Agent.OS)
	some(spoor.DimBrowser, h.Agent.Browser)
	some(spoor.DimDevice, h.Agent.Device)
	some(spoor.DimLanguage, h.Language)
	some(spoor.DimResolution, h.Resolution)
}

// endOf is what a hit adds to the row of the view before it.
func endOf(h *spoor.Hit) (c counts) {
	if h.Kind.Counts().View {
		c.exits = -1
	}
	if h.Tally.Timed {
		c.timed, c.pageMS = 1, h.Tally.Since
	}
	return c
}

// viewOf is the row of a page or screen; without a text for any other hit.
func viewOf(h *spoor.Hit) (key rowKey) {
	switch h.Kind {
	case spoor.KindPage:
		path, _ := pathAndHost(h.URL)
		key = rowKey{spoor.DimPath, path}
	case spoor.KindScreen:
		key = rowKey{spoor.DimScreen, h.Name}
	}
	key.text = cutText(key.text)
	return key
}

func cutText(text string) string { return cutTextTo(text, rowTextMax) }

func cutTextTo(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// hours are the texts of DimHour.
var hours = [24]string{
	"00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11",
	"12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23",
}

// measureSeparator stands between the parts of a text of DimMeasure: event,
// property, and, where numbers are grouped, the property to group by and its
// value.
const measureSeparator = "\x1f"

// measureText is the form of an event's name, or of a value to group by, between
// separators.
func measureText(text string) string {
	return strings.ReplaceAll(cutTextTo(text, measureTextMax), measureSeparator, " ")
}

const measureTextMax = 200

// measureMax bounds numbers that are summed up: what is larger has no exact
// millionths.
const measureMax = 1e12

// rollUpProperties adds to the rows of what a hit's properties say.
func (a *addends) rollUpProperties(declared []string, h *spoor.Hit, event bool, row func(key rowKey, add *counts, by bool)) {
	some := func(dim spoor.Dimension, text string) { row(rowKey{dim, cutText(text)}, &a.one, true) }
	if h.Kind == spoor.KindClick {
		dim := spoor.DimNone
		switch h.Name {
		case "outbound":
			dim = spoor.DimOutbound
		case "download":
			dim = spoor.DimDownload
		}
		if url := linkOf(h); dim != 0 && url != "" {
			some(dim, url)
		}
	}
	if variant, _ := property(h.Properties, "variant"); variant != "" {
		if experiment, _ := property(h.Properties, "experiment"); experiment != "" {
			variant = experiment + "/" + variant
		}
		some(spoor.DimVariant, variant)
	}
	if !event {
		return
	}
	for _, one := range declared {
		name, by, grouped := strings.Cut(one, " by ")
		text, number := property(h.Properties, name)
		if text == "" {
			continue
		}
		if !grouped {
			some(spoor.DimProperty, name+"="+text)
		}
		if math.IsNaN(number) {
			continue
		}
		key := measureText(h.Name) + measureSeparator + name
		if grouped {
			of, _ := property(h.Properties, by)
			if of == "" {
				continue
			}
			key += measureSeparator + by + measureSeparator + measureText(of)
		}
		add := counts{hits: 1, measured: measure(number)}
		row(rowKey{spoor.DimMeasure, key}, &add, true)
	}
}

// linkOf is where a click led, without what may be personal in a query.
func linkOf(h *spoor.Hit) string {
	url, _ := property(h.Properties, "url")
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	return url
}

// measure is one number.
func measure(v float64) measured {
	whole := math.Trunc(v)
	return measured{
		count: 1, whole: int64(whole), millionth: int64(math.Round((v - whole) * 1e6)),
		least: v, greatest: v, bounded: true,
	}
}

// property is the text of a property at the top of a JSON object: of a string,
// number or boolean; empty if there is none. number is NaN if it is no number
// that can be summed up.
func property(object []byte, name string) (text string, number float64) {
	number = math.NaN()
	if !bytes.Contains(object, []byte(name)) { // most have no escapes, and most objects no such name
		return "", number
	}
	d := jsontext.NewDecoder(bytes.NewReader(object))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return "", number
	}
	for d.PeekKind() == '"' {
		key, err := d.ReadToken()
		if err != nil {
			return "", number
		}
		if key.String() != name {
			if d.SkipValue() != nil {
				return "", number
			}
			continue
		}
		switch d.PeekKind() {
		case '"', 't', 'f':
			v, err := d.ReadToken()
			if err != nil {
				return "", number
			}
			return v.String(), number
		case '0':
			v, err := d.ReadToken()
			if err != nil {
				return "", number
			}
			f, err := v.Float()
			if err == nil && math.Abs(f) <= measureMax {
				number = f
			}
			return strconv.FormatFloat(f, 'g', -1, 64), number
		}
		return "", number
	}
	return "", number
}

// views finds the view before a hit while a day's hits are walked in the order
// of their keys, that is by profile and time.
type views struct {
	profile spoor.Number
	seen    []seenView // of this profile, in order of time
}

type seenView struct {
	key         rowKey
	time, visit int64
}

// before gives the row of the view before a counted hit, if the hit ended it,
// and remembers the hit. It must be called with every counted hit.
func (v *views) before(h *spoor.Hit) (before rowKey) {
	if h.Profile != v.profile {
		v.profile, v.seen = h.Profile, v.seen[:0]
	}
	if endsView(h) {
		if h.Tally.From != "" {
			before = fromView(h.Tally.From)
		}
		for i := len(v.seen) - 1; i >= 0 && before.text == ""; i-- {
			if s := v.seen[i]; s.visit == h.Visit && s.time == h.Time-h.Tally.Since {
				before = s.key
			}
		}
	}
	if beginsView(h) {
		v.seen = append(v.seen, seenView{viewOf(h), h.Time, h.Visit})
	}
	return before
}

// endsView reports whether a hit adds to the row of the view before it.
func endsView(h *spoor.Hit) bool { return h.Tally.Since > 0 }

// beginsView reports whether a hit is a view that one after it can end.
func beginsView(h *spoor.Hit) bool {
	return h.Kind.Counts().View && !h.Tally.Aside && h.Visit != 0 && viewOf(h).text != ""
}

// viewBefore reads the row of the view before a hit, if the hit ended it.
func viewBefore(db pebble.Reader, h *spoor.Hit) (before rowKey, err error) {
	if !endsView(h) {
		return before, nil
	}
	if h.Tally.From != "" {
		return fromView(h.Tally.From), nil
	}
	at := hitTimeKey(nil, h.App, h.Day, h.Profile, h.Time-h.Tally.Since)
	err = scan(db, at, func(key, value []byte) error {
		v, err := readHit(key, value)
		if err == nil && v.Visit == h.Visit && counted(&v) && beginsView(&v) {
			before = viewOf(&v)
		}
		return err
	})
	return before, err
}

// toView is the form of a row in Tally.From.
func toView(key rowKey) string { return string(rune(key.dim)) + key.text }

func fromView(text string) rowKey { return rowKey{spoor.Dimension(text[0]), text[1:]} }

// pathAndHost cuts path and host name out of a url that enrich has cleaned.
// The general parser allocates, and was 3 % of the store's work.
func pathAndHost(raw string) (path, host string) {
	rest := raw
	if i := strings.Index(raw, "://"); i >= 0 {
		rest = raw[i+3:]
		if i = strings.IndexAny(rest, "/?#"); i < 0 {
			i = len(rest)
		}
		host, rest = rest[:i], rest[i:]
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
			host = host[:i]
		}
		if rest == "" || rest[0] != '/' {
			return "/", host
		}
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	return rest, host
}
