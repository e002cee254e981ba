package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/retention"
)

// logged is a record of a partition: hits, or a command.
type logged struct {
	hits []spoor.Hit
	at   time.Time
	do   func(n *replica, v *Store, at time.Time) error
	many bool // makes many commits, and brings its place with none
	mark bool // takes a digest
	what string
}

// risk is one in how many commands is killed.
func (x *logged) risk() int {
	if x.many {
		return 4
	}
	return 16
}

// replica is a store that reads partitions.
type replica struct {
	testing.TB
	o       Options
	fs      *crashFS
	s       *Store
	sweeper *retention.Sweeper
	digests map[string][]spoor.AppDigest
	rng     *rand.Rand
	kills   int // restarts in the middle of a command
	told    int // entries of feeds by looks
}

func newReplica(t testing.TB, c *clock, seed int64) *replica {
	n := &replica{TB: t, digests: map[string][]spoor.AppDigest{}, rng: rand.New(rand.NewSource(seed))}
	n.o = testOptions(t, nil, c)
	n.o.sliceMax = 5
	n.o.Rand = rand.New(rand.NewSource(seed))
	n.open(vfs.NewCrashableMem())
	return n
}

func (n *replica) open(mem *vfs.MemFS) {
	n.Helper()
	n.fs = newCrashFS(mem)
	n.o.FS = n.fs
	var err error
	if n.s, err = Open(n.o); err != nil {
		n.Fatal(err)
	}
	n.sweeper = retention.New(retention.Options{Store: n.s, Now: n.o.Now, Log: n.o.Log, Elsewhere: true})
}

func (n *replica) close() {
	n.Helper()
	if err := n.s.Close(); err != nil {
		n.Fatal(err)
	}
}

// step applies a little of a partition, from where the store stands, and tells
// whether there was any. Wild replicas take portions of any size, are killed in
// the middle of commands, and do local work between.
func (n *replica) step(partition int, log []logged, wild bool) bool {
	n.Helper()
	at := offset(n, n.s, partition).Next
	if int(at) == len(log) {
		return false
	}
	end := int(at)
	p := &Portion{Topic: "spoor", Partition: partition, Partitions: 2, First: at}
	for most := 1 + n.rng.Intn(60); end < len(log) && log[end].hits != nil && end-int(at) < most; end++ {
		p.Hits = append(p.Hits, log[end].hits...)
	}
	if p.Next = int64(end); end > int(at) {
		consume(n, n.s, p)
		return true
	}
	p.Next = at + 1
	if x := &log[at]; wild && !x.mark && n.rng.Intn(x.risk()) == 0 {
		n.kill(x, p)
	} else {
		n.apply(n.s, n.sweeper, x, p)
	}
	return true
}

// apply makes one command, as a consumer does.
func (n *replica) apply(s *Store, sweeper *retention.Sweeper, x *logged, p *Portion) {
	place := p
	if x.many || x.mark {
		place = nil
	}
	v := s.At(x.at, rand.New(rand.NewSource(p.Next)), place)
	var err error
	if x.mark {
		n.digest(v, p)
	} else {
		as := &replica{TB: n.TB, s: s, sweeper: sweeper}
		err = x.do(as, v, x.at)
		n.told += as.told
	}
	if transient := errors.Is(err, spoor.ErrClosed) || errors.Is(err, context.Canceled); transient {
		n.Errorf("%s: %v", x.what, err)
	}
	if err := s.Consume(p); err != nil {
		n.Errorf("after %s: %v", x.what, err)
	}
}

func (n *replica) digest(v *Store, p *Portion) {
	n.Helper()
	m, err := v.Mark([]spoor.AppID{spoor.AppID(p.Partition + 1), spoor.AppID(p.Partition + 3), spoor.AppID(p.Partition + 5)})
	if err != nil {
		n.Fatal(err)
	}
	list, err := m.Digest(context.Background())
	if err != nil {
		n.Fatal(err)
	}
	n.digests[fmt.Sprint(p.Partition, " ", p.First)] = list
}

// kill applies a command, takes a copy as a crash would leave the disk after some
// of its commits, and goes on with that.
func (n *replica) kill(x *logged, p *Portion) {
	n.Helper()
	s, sweeper, done := n.s, n.sweeper, make(chan struct{})
	target := s.stats.groups.Load() + int64(n.rng.Intn(12))
	percent := []int{0, 50, 100}[n.rng.Intn(3)]
	seed := n.rng.Uint64()
	go func() {
		defer close(done)
		n.apply(s, sweeper, x, p)
	}()
	for over := false; !over && s.stats.groups.Load() < target; {
		select {
		case <-done:
			over = true
		default:
		}
	}
	copied := n.fs.crash(percent, seed)
	<-done
	n.close()
	n.open(copied)
	n.kills++
}

// local is work that a store does for itself.
func (n *replica) local() {
	n.Helper()
	switch n.rng.Intn(5) {
	case 0:
		if _, err := n.sweeper.Reclaim(context.Background(), false); err != nil {
			n.Fatal(err)
		}
	case 1:
		n.close()
		n.open(n.fs.mem)
	case 2:
		for _, a := range n.s.AllApps() {
			var waiting []spoor.Notice
			if err := n.s.Notices(a.ID, func(x *spoor.Notice) error { waiting = append(waiting, *x); return nil }); err != nil {
				n.Fatal(err)
			}
			for i := range waiting {
				if err := n.s.PutNotice(a.ID, &waiting[i], true); err != nil {
					n.Fatal(err)
				}
			}
		}
	case 3:
		for _, a := range n.s.AllApps() {
			if err := n.s.Audit(spoor.Access{App: a.ID, Action: "users.read"}); err != nil {
				n.Fatal(err)
			}
		}
	case 4:
		for _, a := range n.s.AllApps() {
			list, err := n.s.Collections(a.ID, spoor.CollectionSegment)
			if err != nil {
				n.Fatal(err)
			}
			for i := range list {
				if _, err := n.s.Members(a.ID, &list[i], 0, nil); err != nil {
					n.Fatal(err)
				}
			}
		}
	}
}

// someone finds a person by user id, as a request's path would name one.
func someone(v *Store, app spoor.AppID, user string) (spoor.Number, error) {
	list, err := v.Find(app, spoor.LookupUserID, user)
	if err == nil && len(list) == 0 {
		err = spoor.ErrNoProfile
	}
	if err != nil {
		return 0, err
	}
	return list[0], nil
}

// retain is the command of what falls due.
func retain(app spoor.AppID, at time.Time) logged {
	return logged{at: at, many: true, what: "retain", do: func(n *replica, v *Store, at time.Time) error {
		_, err := n.sweeper.Retain(context.Background(), v, app, at)
		if err != nil {
			n.Errorf("retain: %v", err)
		}
		return nil
	}}
}

func look(app spoor.AppID, at time.Time) logged {
	return logged{at: at, many: true, what: "look", do: func(n *replica, v *Store, at time.Time) error {
		before, _ := v.FeedEnd(app)
		if err := v.Look(context.Background(), app); err != nil {
			n.Errorf("look: %v", err)
		}
		now, _ := v.FeedEnd(app)
		n.told += int(now - before)
		return nil
	}}
}

// create is the command that makes an app with everything switched on.
func create(id spoor.AppID, name string, at time.Time) logged {
	settings := spoor.DefaultSettings([]string{"UTC", "Europe/Warsaw", "America/Los_Angeles"}[id%3])
	settings.WindowDays, settings.IdleDays, settings.HitsDays, settings.StatisticsDays, settings.FeedDays = 1, 3, 7, 8, 2
	settings.ClassDays, settings.Webhook = []string{"click:3"}, "https://shop.example/hook"
	settings.Properties = []string{"plan", "price by plan"}
	return logged{at: at, what: "create", do: func(n *replica, v *Store, at time.Time) error {
		_, err := v.CreateApp(&spoor.App{ID: id, Name: name, Created: at.UnixMilli(), Keys: []spoor.WriteKey{{Key: "key-" + name}}, Settings: settings})
		return err
	}}
}

// commandOf draws any command of an app.
func commandOf(r *rand.Rand, t testing.TB, app spoor.AppID, at time.Time) logged {
	user, other := fmt.Sprint("u", r.Intn(6)), fmt.Sprint("u", r.Intn(12))
	number, until := r.Intn(1000), spoor.Day(0)
	if r.Intn(3) > 0 {
		until = spoor.Day(at.Unix()/86400) + spoor.Day(r.Intn(4))
	}
	kind := spoor.CollectionKind(1 + r.Intn(3))
	id := uint32(r.Intn(6))
	filter := parsed(t, []string{`{"tag":"vip"}`, `{"any":[{"tag":"cold"},{"attribute":"plan","is":"3"}]}`, `{"not":{"tag":"vip"}}`, `{"attribute":"email","exists":true}`}[r.Intn(4)])
	watched := r.Intn(3) > 0
	x := logged{at: at}
	x.what = []string{"edit", "edit", "edit", "collection", "collection", "right", "right", "object", "erase", "settings", "uncollect", "look", "look", "sweep"}[r.Intn(14)]
	x.many = x.what == "erase" && r.Intn(2) == 0 || x.what == "look" || x.what == "sweep"
	switch x.what {
	case "edit":
		e := spoor.Edit{App: app, UserID: other, Door: spoor.DoorREST, At: at.UnixMilli(), TagAdd: [][]string{nil, {"vip"}, {"cold", fmt.Sprint("t", number%9)}}[r.Intn(3)], TagDrop: [][]string{nil, {"vip"}}[r.Intn(2)]}
		if number%4 == 0 {
			e.ListAdd = []uint32{id}
		}
		e.Attributes = []spoor.Attribute{{Name: "score", Type: spoor.TypeInt, Text: fmt.Sprint(number)}, {Name: spoor.AttrEmail, Type: spoor.TypeString, Text: fmt.Sprint(number%5, "@x.example")}}
		x.do = func(n *replica, v *Store, at time.Time) error { one := e; _, _, err := v.Edit(&one); return err }
	case "collection":
		c := spoor.Collection{Kind: kind, ID: id * uint32(r.Intn(2)), Name: fmt.Sprint("c", number%20)}
		if kind == spoor.CollectionSegment {
			c.Filter, c.Watched = filter, watched
		}
		x.do = func(n *replica, v *Store, at time.Time) error { _, err := v.PutCollection(app, c); return err }
	case "uncollect":
		x.do = func(n *replica, v *Store, at time.Time) error { return v.DeleteCollection(app, kind, id) }
	case "right":
		right := []spoor.Right{spoor.RightRestrict, spoor.RightHold, spoor.RightObject}[r.Intn(3)]
		x.do = func(n *replica, v *Store, at time.Time) error {
			p, err := someone(v, app, user)
			if err == nil {
				_, err = v.SetRight(app, p, right, until)
			}
			return err
		}
	case "object":
		x.do = func(n *replica, v *Store, at time.Time) error {
			_, err := v.Object(app, fmt.Sprint("k", number%60), []spoor.Lookup{spoor.LookupKey}, until != 0)
			return err
		}
	case "erase":
		x.do = func(n *replica, v *Store, at time.Time) error {
			p, err := someone(v, app, user)
			if err == nil {
				_, err = n.sweeper.At(v, at, app).Erase(context.Background(), app, p, "subject", true)
			}
			return err
		}
	case "settings":
		x.do = func(n *replica, v *Store, at time.Time) error {
			_, err := v.UpdateApp(app, func(a *spoor.App) error {
				a.Settings.Goals = [][]string{nil, {"bought=path:/b"}, {"any=path:/*"}}[number%3]
				a.Settings.IdleDays, a.Settings.FeedDays = 2+number%3, []int{2, 2, 2, 0}[number%4]
				return nil
			})
			return err
		}
	case "look":
		return look(app, at)
	case "sweep":
		x.do = func(n *replica, v *Store, at time.Time) error {
			if _, err := n.sweeper.At(v, at, app).Sweep(context.Background(), true, true); err != nil {
				n.Errorf("sweep: %v", err)
			}
			return nil
		}
	}
	return x
}

// logOf writes the log of a partition of two: apps that are made, live for days,
// and in part go.
func logOf(t testing.TB, r *rand.Rand, partition int, from time.Time, days int) (log []logged) {
	first, second, third := spoor.AppID(partition+1), spoor.AppID(partition+3), spoor.AppID(partition+5)
	log = append(log, create(first, fmt.Sprint("first", partition), from), create(second, "second", from)) // one name in both partitions
	ids := []spoor.AppID{first, second}
	for _, app := range ids {
		for _, text := range []string{`{"active":{"days":2}}`, `{"tag":"vip"}`} {
			segment := spoor.Collection{Kind: spoor.CollectionSegment, Name: "s", Filter: parsed(t, text), Watched: true}
			log = append(log, logged{at: from, what: "watch", do: func(n *replica, v *Store, at time.Time) error {
				_, err := v.PutCollection(app, segment)
				return err
			}})
		}
	}
	for day := range days {
		began := from.Add(time.Duration(day) * 24 * time.Hour)
		switch day {
		case 4:
			log = append(log, create(third, "third", began), create(first, "again", began))
			ids = append(ids, third)
		case 7:
			ends := began.Add(30 * time.Hour).UnixMilli()
			log = append(log, logged{at: began, what: "end", do: func(n *replica, v *Store, at time.Time) error {
				_, err := v.UpdateApp(third, func(a *spoor.App) error { a.Ends, a.Closed = ends, true; return nil })
				return err
			}})
		}
		var today []logged
		for _, app := range ids {
			now := began
			for i, hits := range randomRequests(r, &spoor.App{ID: app}, began, 40) {
				hits = append(hits, spoor.Hit{
					App: app, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: fmt.Sprint("once ", day, " ", i), Key: fmt.Sprint("once", day, "-", i),
					URL: "https://shop.example/" + fmt.Sprint(i%4), Received: hits[0].Received, Time: hits[0].Received,
				})
				now = time.UnixMilli(hits[0].Received)
				today = append(today, logged{hits: hits, at: now})
			}
		}
		slices.SortStableFunc(today, func(a, b logged) int { return a.at.Compare(b.at) })
		for i, x := range today {
			if log = append(log, x); i%7 == 3 {
				log = append(log, commandOf(r, t, ids[r.Intn(len(ids))], x.at.Add(time.Second)))
			}
			if i%40 == 39 {
				for _, app := range ids {
					log = append(log, retain(app, x.at.Add(2*time.Second)), look(app, x.at.Add(2*time.Second)))
				}
				log = append(log, logged{mark: true, at: x.at, what: "mark"})
			}
		}
	}
	return append(log, logged{mark: true, at: from, what: "mark"})
}

// Goal: stores that read the same partitions hold the same at the same places,
// though they read partitions in another order, take other portions at once, are
// started again, are killed in the middle of commands and apply these once more,
// and give bytes back when they like.
// Method: two partitions of random hits and all kinds of commands over ten days,
// with sealing, sweeps, ages and ends of apps. One store reads a partition after the
// other; the other mixes both and is killed from time to time. Digests that were
// taken at marks in the log are compared, and Check finds nothing.
func TestReplicasAreAlike(t *testing.T) {
	t.Parallel()
	const days = 10
	c := newClock()
	from := c.Now()
	r := rand.New(rand.NewSource(5))
	logs := [][]logged{logOf(t, r, 0, from, days), logOf(t, r, 1, from, days)}
	c.add((days + 1) * 24 * time.Hour)
	calm := newReplica(t, c, 1)
	for p, log := range logs {
		for calm.step(p, log, false) {
		}
	}
	check(t, calm.s)
	swept := 0
	for _, a := range calm.s.AllApps() {
		if err := calm.s.Receipts(a.ID, func(r *spoor.Receipt) error { swept++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if swept < 20 || calm.told < 100 || calm.s.AppByName("third") != nil {
		t.Fatalf("the log holds too little: %d receipts, %d crossings", swept, calm.told)
	}
	wild := newReplica(t, c, 2)
	for going := true; going && !t.Failed(); {
		p := wild.rng.Intn(2)
		going = false
		for range 1 + wild.rng.Intn(30) {
			going = wild.step(p, logs[p], true) || going
		}
		if wild.rng.Intn(10) == 0 {
			wild.local()
		}
		going = wild.step(1-p, logs[1-p], true) || going
	}
	check(t, wild.s)
	for place, want := range calm.digests {
		compareDigests(t, place, wild.digests[place], want)
	}
	if wild.kills < 20 || len(calm.digests) < 20 {
		t.Errorf("only %d kills, %d marks", wild.kills, len(calm.digests))
	}
	wild.close()
	calm.close()
}

func compareDigests(t testing.TB, place string, got, want []spoor.AppDigest) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("at %s: digests of %d apps, want %d", place, len(got), len(want))
		return
	}
	for i, d := range want {
		for j, kind := range d.Kinds {
			if got[i].Kinds[j] != kind {
				t.Errorf("partition and offset %s, app %d: %+v, want %+v", place, d.App, got[i].Kinds[j], kind)
			}
		}
	}
}
