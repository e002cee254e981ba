package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
)

const (
	outletEntries = 100     // in one request
	outletBytes   = 1 << 20 // of a request, but for an entry that is larger by itself
	outletSlots   = 64      // requests in flight, over all apps
	outletTries   = 8       // of what a receiver refuses
	outletRare    = time.Hour
	outletLook    = time.Second // between looks at the settings of apps
	outletRest    = time.Second // after the store failed
)

// OutletOptions configure an Outlet. Store and Apps are needed.
type OutletOptions struct {
	Store Store
	Apps  spoor.Apps
	Now   func() time.Time
	Log   *slog.Logger
	// Private lets webhooks lie in private networks: see spoor.NewWebhooks.
	Private bool
	// RetryFirst is how long a receiver that failed is left alone at first;
	// doubles up to an hour. Default 30 s. Brokers are tried again after a
	// second, or this if it is less, up to every 30 s.
	RetryFirst time.Duration
	// Topics takes what goes to Kafka; nil: no brokers are known.
	Topics Topics
	// Mine says of which apps the feeds are this process's to deliver, at the moment;
	// default: all.
	Mine func(spoor.AppID) bool
}

// Outlet sends the feed of each app to its webhook or topic (settings feed_days,
// feed_webhook, feed_topic), in order and one request at a time. Where delivery
// stands is stored after each 2xx or acknowledgement, so a crash repeats entries,
// under the same ids, and skips none.
//
// A receiver that is down (5xx, 408, 429, no answer), and brokers that do not
// acknowledge, are tried for as long as the entries are kept. What a webhook
// refuses by any other answer becomes a dead letter after eight attempts, what is
// too large for a topic or became too old at once; delivery goes on behind it.
type Outlet struct {
	opt   OutletOptions
	hooks *spoor.Webhooks
	slots chan struct{} // holds one entry for each request in flight

	mu    sync.Mutex
	turns map[spoor.AppID]chan struct{} // with an entry while somebody sends for the app

	webhooks, topics outletCounters
}

type outletCounters struct{ entries, failed, dead, lost, down atomic.Int64 }

// NewOutlet makes one that does not run yet.
func NewOutlet(opt OutletOptions) *Outlet {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Mine == nil {
		opt.Mine = func(spoor.AppID) bool { return true }
	}
	if opt.RetryFirst <= 0 {
		opt.RetryFirst = 30 * time.Second
	}
	return &Outlet{
		opt: opt, hooks: spoor.NewWebhooks(opt.Private),
		slots: make(chan struct{}, outletSlots), turns: map[spoor.AppID]chan struct{}{},
	}
}

// OutletFigures are counters for metrics, since the start.
type OutletFigures struct {
	Entries int64 // that were taken
	Failed  int64 // requests that were not answered 2xx, or acknowledged
	Dead    int64 // dead letters, refused
	Lost    int64 // … and lost, because they became too old
	Down    int64 // apps whose webhook or topic did not take the last request
}

// Figures reads the counters of webhooks.
func (o *Outlet) Figures() OutletFigures { return o.webhooks.read() }

// TopicFigures reads those of topics.
func (o *Outlet) TopicFigures() OutletFigures { return o.topics.read() }

func (f *outletCounters) read() OutletFigures {
	return OutletFigures{Entries: f.entries.Load(), Failed: f.failed.Load(), Dead: f.dead.Load(), Lost: f.lost.Load(), Down: f.down.Load()}
}

// counters are those of where an app's feed goes, with the word for it.
func (o *Outlet) counters(app *spoor.App) (f *outletCounters, word string) {
	if app.Settings.FeedTopic != "" {
		return &o.topics, "topic"
	}
	return &o.webhooks, "webhook"
}

// Run delivers until ctx ends.
func (o *Outlet) Run(ctx context.Context) {
	couriers := map[spoor.AppID]*courier{}
	tick := time.NewTicker(outletLook)
	defer tick.Stop()
	for {
		o.dispatch(ctx, couriers)
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		for _, c := range couriers {
			<-c.ended
		}
		return
	}
}

// dispatch keeps a courier for each app that is ours and has somewhere to deliver
// to. One whose address has changed is followed by another, which tries at once.
func (o *Outlet) dispatch(ctx context.Context, couriers map[spoor.AppID]*courier) {
	for id, c := range couriers {
		select {
		case <-c.ended:
			delete(couriers, id)
		default:
			if app := o.opt.Apps.App(id); app == nil || app.Settings.FeedTarget() != c.target || !o.opt.Mine(id) {
				c.stop()
			}
		}
	}
	for _, app := range o.opt.Apps.AllApps() {
		if target := app.Settings.FeedTarget(); target != "" && couriers[app.ID] == nil && o.opt.Mine(app.ID) {
			c := &courier{o: o, app: app.ID, target: target, ended: make(chan struct{})}
			c.figures, c.word = o.counters(app)
			var own context.Context
			own, c.stop = context.WithCancel(ctx)
			couriers[app.ID] = c
			go c.run(own)
		}
	}
}

// courier delivers the feed of one app to one address or topic.
type courier struct {
	o       *Outlet
	app     spoor.AppID
	target  string
	figures *outletCounters
	word    string // what the target is
	stop    context.CancelFunc
	ended   chan struct{}

	at       spoor.Delivery
	begun    bool   // at is what is stored, or newer
	unsaved  bool   // at is newer
	failures int    // in a row
	refusals int    // of the entries up to through
	through  uint64 // 0: none were refused
}

// untilMore is the pause of who has delivered all there is.
const untilMore time.Duration = -1

func (c *courier) run(ctx context.Context) {
	defer close(c.ended)
	defer c.stop()
	defer c.settle()
	for ctx.Err() == nil {
		_, more := c.o.opt.Store.FeedEnd(c.app)
		pause, err := c.step(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, spoor.ErrClosed) && c.o.opt.Apps.App(c.app) != nil {
			c.o.opt.Log.Error("cannot deliver a feed; it is tried again", "app_id", c.app, "error", err)
		}
		if err != nil {
			pause = outletRest
		}
		if pause == 0 {
			continue
		}
		var wake <-chan time.Time
		if pause > 0 {
			more, wake = nil, time.After(pause)
		}
		select {
		case <-more:
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// step delivers once and tells after what pause to go on.
func (c *courier) step(ctx context.Context) (pause time.Duration, err error) {
	app := c.o.opt.Apps.App(c.app)
	if app == nil || app.Settings.FeedTarget() != c.target {
		return untilMore, nil // dispatch ends this
	}
	if !c.begun {
		if c.at, err = c.o.opt.Store.Delivery(c.app); err != nil {
			return 0, err
		}
		c.begun = true
	}
	leave, err := c.o.enter(ctx, c.app)
	if err != nil {
		return 0, err
	}
	defer leave()
	s, err := c.o.gather(app, c.at.Cursor, c.through)
	var gap *spoor.FeedGap
	switch {
	case errors.As(err, &gap):
		return 0, c.lose(app, gap)
	case err != nil:
		return 0, err
	case s.entries > 0:
		return c.deliver(ctx, app, s)
	case s.next > c.at.Cursor:
		return 0, c.advance(s.next, nil)
	case c.unsaved:
		return outletRest, c.advance(s.next, nil)
	}
	return untilMore, nil
}

// deliver sends entries and notes what came of it.
func (c *courier) deliver(ctx context.Context, app *spoor.App, s shipment) (pause time.Duration, err error) {
	taken, failed := c.o.send(ctx, app, s)
	switch {
	case taken > 0: // what failed behind them is met again
		c.figures.entries.Add(int64(taken))
		if c.failures > 0 {
			c.o.opt.Log.Info("a "+c.word+" takes entries of the feed again", "app", app.Name, "attempts", c.failures+1)
		}
		c.settle()
		return 0, c.advance(s.behind(taken), nil)
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.Is(failed, spoor.ErrFeedRecord):
		return 0, c.giveUp(app, s.records[0].Number, spoor.DeadLetter{
			From: s.first, To: s.first, Entries: 1, Status: http.StatusRequestEntityTooLarge, Attempts: 1,
		})
	}
	if c.failures == 0 {
		c.figures.down.Add(1)
		c.o.opt.Log.Warn("a "+c.word+" did not take entries of the feed; they are tried again", "app", app.Name, "entry", s.first, "error", failed)
	}
	c.failures++
	if app.Settings.FeedTopic != "" {
		return min(topicRare, min(topicFirst, c.o.opt.RetryFirst)<<min(c.failures-1, 20)), nil
	}
	pause = min(outletRare, c.o.opt.RetryFirst<<min(c.failures-1, 20))
	var answer *spoor.WebhookError
	if !errors.As(failed, &answer) || passing(answer.Status) {
		if answer != nil {
			pause = retryAfter(answer.RetryAfter, pause, c.o.opt.Now())
		}
		return pause, nil
	}
	c.through = s.next
	if c.refusals++; c.refusals < outletTries {
		return pause, nil
	}
	return 0, c.giveUp(app, s.next, spoor.DeadLetter{
		From: s.first, To: s.last, Entries: s.entries, Status: answer.Status, Attempts: c.refusals,
	})
}

// giveUp leaves entries out that were refused, and goes on behind them.
func (c *courier) giveUp(app *spoor.App, next uint64, dead spoor.DeadLetter) error {
	dead.At = c.o.opt.Now().UnixMilli()
	if err := c.advance(next, &dead); err != nil {
		return err
	}
	c.settle()
	c.figures.dead.Add(1)
	c.o.opt.Log.Error("a "+c.word+" refused entries of the feed; they are left out, see spoor feed --dead", "app", app.Name, "from", dead.From, "to", dead.To, "status", dead.Status)
	return nil
}

// lose notes entries that went before they were delivered.
func (c *courier) lose(app *spoor.App, gap *spoor.FeedGap) error {
	dead := spoor.DeadLetter{From: c.at.Cursor + 1, To: gap.Oldest, At: c.o.opt.Now().UnixMilli()}
	if err := c.advance(gap.Oldest, &dead); err != nil {
		return err
	}
	c.figures.lost.Add(1)
	c.o.opt.Log.Error("entries of the feed became too old before a "+c.word+" took them; its owner should read all users again", "app", app.Name, "from", dead.From, "to", dead.To)
	return nil
}

// settle forgets what failed.
func (c *courier) settle() {
	if c.failures > 0 {
		c.figures.down.Add(-1)
	}
	c.failures = 0
}

// advance moves on, and notes what was given up on the way.
func (c *courier) advance(next uint64, dead *spoor.DeadLetter) error {
	at := c.at
	at.Cursor = next
	err := c.o.opt.Store.PutDelivery(c.app, &at, dead)
	if err != nil && dead != nil {
		return err
	}
	c.at, c.unsaved = at, err != nil
	c.refusals, c.through = 0, 0
	if errors.Is(err, spoor.ErrBusy) || errors.Is(err, spoor.ErrReadOnly) {
		return nil // it was delivered all the same, and is noted with the next
	}
	return err
}

// passing reports whether an answer is about the receiver's state rather than
// about what it was sent.
func passing(status int) bool {
	return status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests
}

// retryAfter reads the header of that name, within bounds: seconds or a date.
func retryAfter(text string, byDefault time.Duration, now time.Time) time.Duration {
	wait := byDefault
	if sec, err := strconv.Atoi(text); err == nil && sec >= 0 {
		wait = time.Duration(min(sec, int(outletRare/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	} else {
		return byDefault
	}
	return min(max(wait, min(time.Second, byDefault)), outletRare)
}

// enter waits until nobody sends for an app and there is room for one more.
func (o *Outlet) enter(ctx context.Context, app spoor.AppID) (leave func(), err error) {
	o.mu.Lock()
	turn := o.turns[app]
	if turn == nil {
		turn = make(chan struct{}, 1)
		o.turns[app] = turn
	}
	o.mu.Unlock()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case o.slots <- struct{}{}:
		return func() { <-o.slots; <-turn }, nil
	case <-ctx.Done():
		<-turn
		return nil, ctx.Err()
	}
}

// shipment is what one request carries: body or records.
type shipment struct {
	body        []byte
	records     []spoor.FeedRecord
	entries     int
	first, last uint64 // of the entries
	next        uint64 // cursor behind them
}

// note counts an entry.
func (s *shipment) note(n uint64) {
	if s.entries == 0 {
		s.first = n
	}
	s.entries++
	s.last = n
}

// past is the error of a walk as far as it concerns the shipment: a gap behind
// some entries is met by who goes on from them.
func (s *shipment) past(err error) error {
	var gap *spoor.FeedGap
	if errors.Is(err, ErrStop) || errors.As(err, &gap) && s.entries > 0 {
		return nil
	}
	return err
}

// behind is the cursor behind the first so many entries, one at least.
func (s *shipment) behind(taken int) uint64 {
	if taken < s.entries {
		return s.records[taken-1].Number
	}
	return s.next
}

// gather makes a request of what is behind a cursor, up to an entry if that is
// not 0.
func (o *Outlet) gather(app *spoor.App, behind, through uint64) (s shipment, err error) {
	if app.Settings.FeedTopic != "" {
		return o.gatherRecords(app, behind, through)
	}
	var w jsonWriter
	w.begin('{')
	w.text("app", app.Name)
	w.key("entries")
	w.begin('[')
	s.next, err = o.opt.Store.Feed(app.ID, behind, func(e *spoor.FeedEntry) error {
		if s.entries == outletEntries || len(w.b) >= outletBytes || through != 0 && e.Number > through {
			return ErrStop
		}
		s.note(e.Number)
		writeFeedEntry(&w, e, false)
		return nil
	})
	w.end(']')
	w.end('}')
	s.body = w.b
	return s, s.past(err)
}

// send gives how many entries, from the first on, were taken: of a webhook all or
// none. It counts what fails.
func (o *Outlet) send(ctx context.Context, app *spoor.App, s shipment) (taken int, err error) {
	if topic := app.Settings.FeedTopic; topic != "" {
		taken, err = o.produce(ctx, topic, s)
	} else if err = o.post(ctx, app, s.body); err == nil {
		taken = s.entries
	}
	if err != nil {
		f, _ := o.counters(app)
		f.failed.Add(1)
	}
	return taken, err
}

func (o *Outlet) post(ctx context.Context, app *spoor.App, body []byte) error {
	err := o.hooks.Post(ctx, app.Settings.FeedTarget(), app.WebhookSecret, body, o.opt.Now())
	var with *url.Error
	if errors.As(err, &with) { // the address may hold a secret, and errors are logged
		err = fmt.Errorf("it did not answer: %w", with.Err)
	}
	return err
}

// retry sends the entries of a dead letter again, as far as they are kept. What
// is left of it stays a dead letter; failed is why, if not all that is kept was
// taken.
func (o *Outlet) retry(ctx context.Context, app *spoor.App, l spoor.DeadLetter) (delivered int, left []spoor.DeadLetter, failed, err error) {
	now := o.opt.Now().UnixMilli()
	figures, _ := o.counters(app)
	var tooLarge error
	for at := l.From - 1; at < l.To && failed == nil; {
		leave, err := o.enter(ctx, app.ID)
		if err != nil {
			return delivered, append(left, rest(l, at, delivered)), errNoTime, nil
		}
		taken := 0
		s, err := o.gather(app, at, l.To)
		if err == nil && s.entries > 0 {
			taken, failed = o.send(ctx, app, s)
			figures.entries.Add(int64(taken))
		}
		if leave(); failed != nil && ctx.Err() != nil {
			failed = errNoTime
		}
		var gap *spoor.FeedGap
		switch {
		case errors.As(err, &gap), err == nil && s.next == at:
			to := l.To
			if gap != nil {
				to = min(to, gap.Oldest)
			}
			left = append(left, spoor.DeadLetter{From: at + 1, To: to, At: now})
			at = to
		case err != nil:
			return delivered, nil, nil, err
		case taken > 0 || s.entries == 0: // what failed behind them is met again
			failed = nil
			delivered += taken
			at = s.behind(taken)
		case errors.Is(failed, spoor.ErrFeedRecord): // the one entry; those behind it may go
			left = append(left, spoor.DeadLetter{
				From: s.first, To: s.first, Entries: 1, At: now, Status: http.StatusRequestEntityTooLarge, Attempts: l.Attempts + 1,
			})
			at, tooLarge, failed = s.first, failed, nil
		default:
			again := rest(l, at, delivered)
			var answer *spoor.WebhookError
			if errors.As(failed, &answer) {
				again.Status = answer.Status
				again.Attempts++
			}
			left = append(left, again)
		}
	}
	if failed == nil {
		failed = tooLarge
	}
	return delivered, left, failed, nil
}

var (
	errNoTime    = errors.New("there was no time for it")
	errNoBrokers = errors.New("no brokers are known; start serve with --feed-kafka (SPOOR_FEED_KAFKA)")
)

// rest is what is behind a cursor of a dead letter.
func rest(l spoor.DeadLetter, at uint64, delivered int) spoor.DeadLetter {
	l.From = at + 1
	l.Entries = max(l.Entries-delivered, 1)
	return l
}
