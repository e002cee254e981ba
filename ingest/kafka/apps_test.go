package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

func anApp(id spoor.AppID, name string, keys ...string) *spoor.App {
	app := &spoor.App{ID: id, Name: name, Created: 5, Settings: spoor.DefaultSettings("Europe/Warsaw"), WebhookSecret: "w", LinkSecret: "l",
		Tokens: []spoor.Token{{Name: "t", Role: spoor.RoleRead, Hash: "h"}}}
	for _, k := range keys {
		app.Keys = append(app.Keys, spoor.WriteKey{Key: k})
	}
	return app.Clone()
}

// Goal: a collector knows the apps that were published before it began, hears
// of each change after, and forgets what is taken back.
// Method: apps are published, a directory follows, further changes come; a
// second directory begins then and must answer the same.
func TestDirectory(t *testing.T) {
	c := anyCluster(t)
	topic := openTopic(t, c.options(t))
	publish(t, topic, anApp(1, "one", "key-one"), anApp(2, "two", "key-two"), anApp(3, "three", "key-three"))
	publish(t, topic, anApp(2, "two", "key-two-b", "key-two-c"))
	d := followApps(t, topic)
	if len(d.AllApps()) != 3 || d.AllApps()[0].ID != 1 || d.AllApps()[2].ID != 3 {
		t.Errorf("all apps are %+v", d.AllApps())
	}
	if app := d.AppByKey("key-two-c"); app == nil || !sameApp(app, anApp(2, "two", "key-two-b", "key-two-c")) || app.Day(1_764_000_000_000) == 0 {
		t.Errorf("app 2 is %+v", app)
	}
	if d.AppByKey("key-two") != nil || d.AppByKey("") != nil || d.App(9) != nil || d.AppByName("one") != d.App(1) || d.App(1) == nil {
		t.Error("the directory answers wrongly by key, number or name")
	}

	gone := anApp(1, "one", "key-one")
	gone.Keys[0].Expires = time.Now().Add(-time.Second).UnixMilli()
	publish(t, topic, gone, anApp(4, "four", "key-four"))
	if err := topic.ForgetApp(t.Context(), 3, 0); err != nil {
		t.Fatal(err)
	}
	shared := anApp(5, "five")
	shared.Share = spoor.HashToken("link")
	publish(t, topic, shared)
	poll(t, "changes arrive", func() bool { return d.App(5) != nil && d.App(3) == nil })
	if d.AppByShare("link") != d.App(5) || d.AppByShare("") != nil || d.AppByShare(shared.Share) != nil {
		t.Error("the directory answers wrongly by link")
	}
	later := followApps(t, topic)
	for name, d := range map[string]*Directory{"first": d, "later": later} {
		if d.AppByKey("key-one") != nil || d.AppByKey("key-three") != nil || d.AppByName("three") != nil || d.AppByKey("key-four") != d.App(4) || len(d.AllApps()) != 4 {
			t.Errorf("the %s directory has %+v", name, d.AllApps())
		}
	}
}

func sameApp(a, b *spoor.App) bool {
	ja, erra := json.Marshal(a)
	jb, errb := json.Marshal(b)
	return erra == nil && errb == nil && reflect.DeepEqual(ja, jb)
}

func publish(t *testing.T, topic *Topic, apps ...*spoor.App) {
	t.Helper()
	for _, app := range apps {
		if err := topic.PublishApp(t.Context(), app); err != nil {
			t.Fatal(err)
		}
	}
}

func followApps(t *testing.T, topic *Topic) *Directory {
	t.Helper()
	d, err := topic.Follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Goal: a record that is no app leaves the directory as it was.
// Method: foreign bytes, an app under the number of another, one of a version
// to come, between good ones, read from the beginning and while following.
func TestDirectoryPoisoned(t *testing.T) {
	c := anyCluster(t)
	topic := openTopic(t, c.options(t))
	publish(t, topic, anApp(1, "one", "key-one"))
	followed := followApps(t, topic)
	bad := []record{
		{[]byte("1"), []byte("{")},
		{[]byte("1"), []byte(`{"version": 1, "app": null}`)},
		{[]byte("1"), []byte(`{"version": 1, "app": {"id": 7, "name": "other"}}`)},
		{[]byte("1"), []byte(`{"version": 2, "app": {"id": 1, "name": "later"}}`)},
		{[]byte("x"), []byte(`{"version": 1, "app": {"id": 1, "name": "x"}}`)},
		{nil, nil},
		{[]byte("0"), nil},
		{[]byte("1"), []byte(`{"version": 1}`)},
		{[]byte("1"), []byte(`{"version": 1, "gone": {"id": 7, "version": 9}}`)},
		{[]byte("1"), []byte(`{"version": 1, "gone": {"id": 1, "version": -1}}`)},
		{[]byte("1"), []byte(`{"version": 2, "gone": {"id": 1, "version": 9}}`)},
		{[]byte("2"), []byte(`{"version": 1, "app": {"id": 2, "name": "two"}}`)},
	}
	if _, err := topic.brokers.produce(t.Context(), topic.opts.apps(), 0, bad); err != nil {
		t.Fatal(err)
	}
	poll(t, "the last record arrives", func() bool { return followed.App(2) != nil })
	for name, d := range map[string]*Directory{"followed": followed, "read": followApps(t, topic)} {
		if len(d.AllApps()) != 2 || d.App(1) == nil || d.App(1).Name != "one" || d.AppByKey("key-one") == nil {
			t.Errorf("%s: the directory has %+v", name, d.AllApps())
		}
		if d.App(2) == nil || d.App(2).Settings.WindowDays != spoor.DefaultSettings("UTC").WindowDays {
			t.Errorf("%s: a setting that the record does not have is not as by default", name)
		}
	}
}

// Goal: the directory outlives its brokers, and compaction takes nothing from
// it.
// Method: apps are published often and some forgotten, the log is compacted, so
// that it has gaps and a reader must get over them; brokers restart under a
// directory that follows, which answers meanwhile and hears of what comes after.
func TestDirectoryCompactedAndRestarted(t *testing.T) {
	c := fakeCluster(t)
	topic := openTopic(t, c.options(t))
	var together []record // of which compaction leaves the first
	for _, app := range []*spoor.App{anApp(5, "five", "key-five"), anApp(1, "one"), anApp(2, "two")} {
		value, err := json.Marshal(appRecord{Version: appVersion, App: app})
		if err != nil {
			t.Fatal(err)
		}
		together = append(together, record{strconv.AppendUint(nil, uint64(app.ID), 10), value})
	}
	if _, err := topic.brokers.produce(t.Context(), topic.opts.apps(), 0, together); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		publish(t, topic, anApp(1, "one", "key-one"), anApp(2, "two", "key-two"))
	}
	publish(t, topic, anApp(3, "three", "key-three"))
	if err := topic.ForgetApp(t.Context(), 2, 0); err != nil {
		t.Fatal(err)
	}
	c.fake.Compact()
	d := followApps(t, topic)
	left := 0
	for at := int64(0); at < 25; {
		next, err := topic.brokers.fetch(t.Context(), topic.opts.apps(), 0, at, func(int64, []byte, []byte) { left++ })
		if err != nil || next == at {
			t.Fatalf("at %d of 25: %d (%v)", at, next, err)
		}
		at = next
	}
	if left > 10 {
		t.Errorf("%d records are left of 25: nothing was compacted, and this test shows nothing", left)
	}
	if len(d.AllApps()) != 3 || d.App(1) == nil || d.App(3) == nil || d.App(5) == nil {
		t.Errorf("after compaction the directory has %+v", d.AllApps())
	}
	c.fake.Close()
	if d.AppByKey("key-one") == nil {
		t.Error("without brokers the directory does not answer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := topic.PublishApp(ctx, anApp(4, "four"))
	oneLine(t, err, "cannot publish app 4")
	if errors.Is(err, spoor.ErrBusy) {
		t.Errorf("publishing gave %v", err)
	}
	c.start(t)
	publish(t, topic, anApp(4, "four", "key-four"))
	poll(t, "a change arrives after the restart", func() bool { return d.AppByKey("key-four") != nil })
}

// standingOf is a directory as one line: each app that the topic told of with
// its version, and * if it is gone.
func standingOf(d *Directory) string {
	var words []string
	for id := range d.Newest() {
		switch version, gone := d.Version(id + 1); {
		case gone && d.App(id+1) == nil:
			words = append(words, fmt.Sprintf("%d:%d*", id+1, version))
		case d.App(id+1) != nil && d.App(id+1).Version == version:
			words = append(words, fmt.Sprintf("%d:%d", id+1, version))
		case version != -1:
			words = append(words, "?")
		}
	}
	return strings.Join(words, " ")
}

// Goal: of several publishers the one that lags overwrites nothing and brings
// nothing back, whoever looks and whenever, also once compaction has left the last
// record of each app alone.
// Method: records in each order, by a publisher and as an older spoor wrote them;
// a directory that followed and one that begins must say the same. Then records
// that count are put again, the log is compacted, and a third begins.
func TestDirectorySeveralPublishers(t *testing.T) {
	c := fakeCluster(t)
	topic := openTopic(t, c.options(t))
	d := followApps(t, topic)
	at := func(id spoor.AppID, version int64) {
		t.Helper()
		app := anApp(id, fmt.Sprint("app-", id), fmt.Sprint("key-", id))
		app.Version = version
		publish(t, topic, app)
	}
	forget := func(id spoor.AppID, version int64) {
		t.Helper()
		if err := topic.ForgetApp(t.Context(), id, version); err != nil {
			t.Fatal(err)
		}
	}
	empty := func(id string) {
		t.Helper()
		if _, err := topic.brokers.produce(t.Context(), topic.opts.apps(), 0, []record{{[]byte(id), nil}}); err != nil {
			t.Fatal(err)
		}
	}
	at(1, 1)
	at(1, 3)
	at(1, 2) // lags
	at(2, 4)
	forget(2, 4)
	at(2, 4) // lags
	forget(3, 2)
	at(3, 1) // lags, and its newer record was never told
	at(4, 5)
	forget(4, 2) // lags
	at(5, 2)
	empty("5")
	at(5, 2) // lags
	at(6, 1)
	forget(6, 1)
	empty("6")
	forget(7, 1)
	at(7, 2) // a higher version is newer
	at(8, 0)
	at(8, 0)
	empty("11")
	at(9, 1)
	const want = "1:3 2:4* 3:2* 4:5 5:2* 6:1* 7:2 8:0 9:1 11:0*"
	poll(t, "the last record arrives", func() bool { return d.App(9) != nil })
	later := followApps(t, topic)
	for name, d := range map[string]*Directory{"followed": d, "read": later} {
		if got := standingOf(d); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if len(d.AllApps()) != 5 || d.AppByKey("key-2") != nil || d.AppByName("app-5") != nil || d.Newest() != 11 {
			t.Errorf("%s: %d apps, the newest is %d", name, len(d.AllApps()), d.Newest())
		}
	}
	if version, gone := d.Version(10); version != -1 || gone {
		t.Errorf("an app that nobody told of has version %d, %v", version, gone)
	}

	if err := d.Mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	covered := func(d *Directory) (n int) {
		for _, s := range d.state.Load().byID {
			if s.covered {
				n++
			}
		}
		return n
	}
	poll(t, "nothing is left to put again", func() bool { return covered(d) == 0 })
	if err := later.Mend(t.Context()); err != nil { // another publisher saw the same
		t.Fatal(err)
	}
	at(10, 1) // compaction leaves the last batch alone
	c.fake.Compact()
	if got, want := standingOf(followApps(t, topic)), strings.Replace(want, "11:0*", "10:1 11:0*", 1); got != want {
		t.Errorf("after compaction: %s, want %s", got, want)
	}
	left := 0
	if _, err := topic.readAll(t.Context(), topic.opts.apps(), -1, func(int64, []byte, []byte) { left++ }); err != nil {
		t.Fatal(err)
	}
	if left > 12 {
		t.Errorf("%d records are left: nothing was compacted, and this test shows nothing", left)
	}
}

// Goal: what two apps claim belongs to the lower number, in whatever order they
// came.
// Method: two apps with one name and one key, told in both orders, then the lower
// one without them.
func TestDirectoryClaims(t *testing.T) {
	c := anyCluster(t)
	topic := openTopic(t, c.options(t))
	publish(t, topic, anApp(3, "same", "key-same", "key-three"), anApp(2, "same", "key-same"), anApp(4, "same", "key-same"))
	d := followApps(t, topic)
	if d.AppByName("same") != d.App(2) || d.AppByKey("key-same") != d.App(2) || d.App(2) == nil || d.AppByKey("key-three") != d.App(3) || len(d.AllApps()) != 3 {
		t.Errorf("the name is of %+v, the key of %+v", d.AppByName("same"), d.AppByKey("key-same"))
	}
	publish(t, topic, anApp(2, "other"))
	poll(t, "app 3 has what app 2 gave up", func() bool { return d.AppByName("same") == d.App(3) && d.AppByKey("key-same") == d.App(3) })
}

// Goal: a topic of apps that was deleted and made anew gets back what is known.
// Method: the topic is deleted under a directory and made again, empty.
func TestDirectoryTopicMadeAnew(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.gone = 200 * time.Millisecond
	topic := openTopic(t, o)
	publish(t, topic, anApp(1, "one"), anApp(2, "two"))
	if err := topic.ForgetApp(t.Context(), 2, 7); err != nil {
		t.Fatal(err)
	}
	d := followApps(t, topic)
	if err := c.fake.DeleteTopic(o.apps()); err != nil {
		t.Fatal(err)
	}
	anew := openTopic(t, o)
	poll(t, "the topic has all again", func() bool {
		if err := d.Mend(t.Context()); err != nil {
			t.Fatal(err)
		}
		return standingOf(followApps(t, anew)) == "1:0 2:7*"
	})
	poll(t, "nothing is left to put again", func() bool {
		for _, s := range d.state.Load().byID {
			if s.covered {
				return false
			}
		}
		return true
	})
}
