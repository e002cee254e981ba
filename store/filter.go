package store

import (
	"strings"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// conditions are a filter, made ready for many hits.
type conditions []condition

type condition struct {
	dim    spoor.Dimension
	name   string // of the property
	text   string
	prefix bool
	not    bool
}

func newConditions(list []spoor.Condition) conditions {
	f := make(conditions, len(list))
	for i, c := range list {
		f[i] = condition{dim: c.Dimension, text: c.Text, prefix: c.Prefix, not: c.Not}
		if c.Dimension == spoor.DimProperty {
			f[i].name, f[i].text, _ = strings.Cut(c.Text, "=")
		}
		f[i].text = cutText(f[i].text)
	}
	return f
}

func (c *condition) fits(text string) bool {
	if text == "" {
		return c.not
	}
	if c.prefix {
		return strings.HasPrefix(text, c.text) != c.not
	}
	return (text == c.text) != c.not
}

// row is the text of the roll-up row that the condition asks for.
func (c *condition) row() string {
	if c.dim == spoor.DimProperty {
		return c.name + "=" + c.text
	}
	return c.text
}

// match reports whether one hit fulfils all conditions.
func (f conditions) match(app *spoor.App, h *spoor.Hit) bool {
	for i := range f {
		c := &f[i]
		if !c.fits(textOf(app, h, c.dim, c.name)) {
			return false
		}
	}
	return true
}

// tags are the fields of hits that the filter looks at.
func (f conditions) tags() (t tagSet) {
	for _, c := range f {
		t |= tagsOf(c.dim)
	}
	return t
}

// textOf is the text of the roll-up row of a dimension under which a counted
// hit stands; empty if it stands under none. name is that of the property, of
// DimProperty. The text may use the memory of the hit. See rollUp.
func textOf(app *spoor.App, h *spoor.Hit, dim spoor.Dimension, name string) (text string) {
	k := h.Kind.Counts()
	switch dim {
	case spoor.DimEvent:
		if k.Event {
			text = h.Name
		}
		return cutText(text)
	case spoor.DimOutbound, spoor.DimDownload:
		if h.Kind == spoor.KindClick && h.Name == dim.String() {
			text = linkOf(h)
		}
		return cutText(text)
	case spoor.DimVariant:
		if (k.Event || k.View) && len(h.Properties) > 0 {
			if text, _ = property(h.Properties, "variant"); text != "" {
				if experiment, _ := property(h.Properties, "experiment"); experiment != "" {
					text = experiment + "/" + text
				}
			}
		}
		return cutText(text)
	case spoor.DimProperty:
		if k.Event && len(h.Properties) > 0 {
			if text, _ = property(h.Properties, name); text != "" {
				text = cutText(name + "=" + text)[len(name)+1:]
			}
		}
		return text
	}
	if !k.Visitor && h.Visit == 0 || dim.OfWayIn() && !h.First {
		return ""
	}
	switch dim {
	case spoor.DimHour:
		return hours[app.HourOf(h.Time)]
	case spoor.DimPath, spoor.DimScreen:
		if key := viewOf(h); key.dim == dim {
			return key.text
		}
	case spoor.DimTitle:
		if h.Kind == spoor.KindPage {
			text = h.Title
		}
	case spoor.DimReferrer:
		_, text = pathAndHost(h.Referrer)
	case spoor.DimChannel:
		text = h.Campaign.Channel
	case spoor.DimSource:
		text = h.Campaign.Source
	case spoor.DimMedium:
		text = h.Campaign.Medium
	case spoor.DimCampaign:
		text = h.Campaign.Name
	case spoor.DimTerm:
		text = h.Campaign.Term
	case spoor.DimContent:
		text = h.Campaign.Content
	case spoor.DimCountry:
		text = h.Place.Country
	case spoor.DimRegion:
		if h.Place.Region != "" {
			text = h.Place.Country + "/" + h.Place.Region
		}
	case spoor.DimCity:
		if h.Place.City != "" {
			text = h.Place.Country + "/" + h.Place.Region + "/" + h.Place.City
		}
	case spoor.DimOS:
		text = h.Agent.OS
	case spoor.DimBrowser:
		text = h.Agent.Browser
	case spoor.DimDevice:
		text = h.Agent.Device
	case spoor.DimLanguage:
		text = h.Language
	case spoor.DimResolution:
		text = h.Resolution
	}
	return cutText(text)
}

// tagSet is a set of fields of a stored hit.
type tagSet uint64

func tagsOfFields(list ...protowire.Number) (t tagSet) {
	for _, tag := range list {
		t |= 1 << tag
	}
	return t
}

// tagsAlways say what a hit counts as.
var tagsAlways = tagsOfFields(hitKind, hitBot, hitVisit, hitFirst, hitMarks, hitTally)

// tagsOfViews say which page or screen a hit is a view of.
var tagsOfViews = tagsOfFields(hitURL, hitName)

func tagsOf(dim spoor.Dimension) tagSet {
	switch dim {
	case spoor.DimPath:
		return tagsOfFields(hitURL)
	case spoor.DimScreen, spoor.DimEvent:
		return tagsOfFields(hitName)
	case spoor.DimTitle:
		return tagsOfFields(hitTitle)
	case spoor.DimReferrer:
		return tagsOfFields(hitReferrer)
	case spoor.DimChannel:
		return tagsOfFields(hitChannel)
	case spoor.DimSource:
		return tagsOfFields(hitSource)
	case spoor.DimMedium:
		return tagsOfFields(hitMedium)
	case spoor.DimCampaign:
		return tagsOfFields(hitCampaign)
	case spoor.DimTerm:
		return tagsOfFields(hitTerm)
	case spoor.DimContent:
		return tagsOfFields(hitContent)
	case spoor.DimCountry:
		return tagsOfFields(hitCountry)
	case spoor.DimRegion:
		return tagsOfFields(hitCountry, hitRegion)
	case spoor.DimCity:
		return tagsOfFields(hitCountry, hitRegion, hitCity)
	case spoor.DimOS:
		return tagsOfFields(hitOS)
	case spoor.DimBrowser:
		return tagsOfFields(hitBrowser)
	case spoor.DimDevice:
		return tagsOfFields(hitDevice)
	case spoor.DimLanguage:
		return tagsOfFields(hitLanguage)
	case spoor.DimResolution:
		return tagsOfFields(hitResolution)
	case spoor.DimOutbound, spoor.DimDownload, spoor.DimVariant, spoor.DimProperty:
		return tagsOfFields(hitName, hitProperties)
	}
	return 0
}
