package store

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Dimension is what a roll-up of a day counts by.
type Dimension byte

// The dimensions. They are stored: append, never renumber.
const (
	DimHour Dimension = iota + 1 // local hour of the hit, "00" to "23"
	DimPath
	DimReferrer // host
	DimChannel
	DimSource
	DimCampaign
	DimCountry
	DimRegion // "PL/Mazovia"
	DimCity   // "PL/Mazovia/Warsaw"
	DimOS
	DimBrowser
	DimDevice
	DimLanguage
	DimResolution
	DimEvent  // name of an event
	DimScreen // name of a screen
	dimEnd
)

// counts is one roll-up row: how often a value was seen on a day.
type counts struct {
	text                        string
	hits, views, events, visits int64
	unknown                     [][]byte
}

const (
	countText protowire.Number = iota + 1
	countHits
	countViews
	countEvents
	countVisits
	countUnknown
)

func (c *counts) fold(o *counts) {
	if c.text == "" || o.text != "" && o.text < c.text {
		c.text = o.text
	}
	c.hits += o.hits
	c.views += o.views
	c.events += o.events
	c.visits += o.visits
	if len(o.unknown) > 0 {
		c.unknown = append(c.unknown, o.unknown...)
		slices.SortFunc(c.unknown, slices.Compare)
	}
}

func (c *counts) appendTo(dst []byte) []byte {
	dst = appendHeader(dst)
	dst = putString(dst, countText, c.text)
	dst = putInt(dst, countHits, c.hits)
	dst = putInt(dst, countViews, c.views)
	dst = putInt(dst, countEvents, c.events)
	dst = putInt(dst, countVisits, c.visits)
	return putUnknown(dst, countUnknown, c.unknown)
}

func readCounts(value []byte) (*counts, error) {
	c := new(counts)
	err := fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case countText:
			c.text = string(b)
		case countHits:
			c.hits = zigzag(num)
		case countViews:
			c.views = zigzag(num)
		case countEvents:
			c.events = zigzag(num)
		case countVisits:
			c.visits = zigzag(num)
		case countUnknown:
			c.unknown = append(c.unknown, append([]byte(nil), b...))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}
