package query

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/spoorhq/spoor"
)

const (
	topicEntries = 500              // in one batch
	topicBytes   = 900_000          // of a batch, but for its last entry
	topicFirst   = time.Second      // at most, after brokers failed; doubles
	topicRare    = 30 * time.Second // … up to this
)

// Topics takes feeds to Kafka. Its methods may be called concurrently.
type Topics interface {
	// Check says what is known against a topic, without asking the brokers.
	Check(topic string) error
	// Write appends records in order and returns how many, counted from the
	// first, all in-sync replicas have; nil if they have all. With an error others
	// may be there too. spoor.ErrFeedRecord is about the next one alone. Records
	// may be read after the return and must not change any more.
	Write(ctx context.Context, topic string, records []spoor.FeedRecord) (n int, err error)
}

// checkFeed refuses a topic that cannot take an app's feed, if the settings that
// were just applied name it. A command is not checked against what may differ
// between nodes.
func (c *call) checkFeed(app *spoor.App, given map[string]scalar) error {
	s, o := &app.Settings, c.s.opt.Outlet
	_, topic := given["feed_topic"]
	_, hook := given["feed_webhook"]
	switch {
	case s.FeedTopic == "" || !topic && !hook:
		return nil
	case s.FeedWebhook != "":
		return fieldError("feed_topic", "The feed goes to a webhook or to a topic, not to both; set feed_webhook or feed_topic to nothing.")
	case c.applied:
		return nil
	case o == nil || o.opt.Topics == nil:
		return fieldError("feed_topic", "No brokers are known here; start serve with --feed-kafka (SPOOR_FEED_KAFKA), then set it.")
	}
	if err := o.opt.Topics.Check(s.FeedTopic); err != nil {
		return fieldError("feed_topic", cut(err.Error(), 1000))
	}
	all := o.opt.Apps.AllApps()
	if c.s.opt.Nodes != nil {
		all = append(slices.Clone(all), c.s.opt.Nodes.Apps()...)
	}
	for _, other := range all {
		if other.Settings.FeedTopic == s.FeedTopic && other.Name != app.Name {
			return fieldError("feed_topic", "Another app's feed goes to this topic; use one that is this app's alone.")
		}
	}
	return nil
}

// foreseeFeed checks a change of settings before it is put into the log.
func (c *call) foreseeFeed(body []byte) error {
	var in struct{ Settings map[string]scalar }
	if c.route.action != "apps.update" || json.Unmarshal(body, &in) != nil {
		return nil // who applies it says what is wrong
	}
	next := c.app.Clone()
	if applySettings(&next.Settings, in.Settings, c.now) != nil {
		return nil
	}
	return c.checkFeed(next, in.Settings)
}

// feedKey is the key of an entry's record.
func feedKey(app *spoor.App, e *spoor.FeedEntry) []byte {
	id := e.Person
	switch {
	case e.Kind == spoor.FeedUser:
		id = e.Profile.ID
	case (e.Kind == spoor.FeedSwept || e.Kind == spoor.FeedErased) && len(e.Gone) == 1:
		id = e.Gone[0]
	}
	if id == 0 {
		return []byte(app.Name)
	}
	return strconv.AppendInt(nil, id, 10)
}

// gatherRecords makes a batch of what is behind a cursor, as gather does.
func (o *Outlet) gatherRecords(app *spoor.App, behind, through uint64) (s shipment, err error) {
	var w jsonWriter
	var ends []int
	s.next, err = o.opt.Store.Feed(app.ID, behind, func(e *spoor.FeedEntry) error {
		if s.entries == topicEntries || len(w.b) >= topicBytes || through != 0 && e.Number > through {
			return ErrStop
		}
		writeFeedEntry(&w, e, false)
		w.b = append(w.b, '\n') // so that no comma comes
		ends = append(ends, len(w.b)-1)
		s.records = append(s.records, spoor.FeedRecord{Number: e.Number, Key: feedKey(app, e)})
		s.note(e.Number)
		return nil
	})
	from := 0
	for i, end := range ends {
		s.records[i].Value = w.b[from:end:end]
		from = end + 1
	}
	return s, s.past(err)
}

// produce sends a batch to the app's topic.
func (o *Outlet) produce(ctx context.Context, topic string, s shipment) (taken int, err error) {
	if o.opt.Topics == nil {
		return 0, errNoBrokers
	}
	return o.opt.Topics.Write(ctx, topic, s.records)
}
