package main

import "testing"

// Goal: the ledger finds a loss, a duplicate and a phantom, and finds none
// where there is none. Method: a small store in a slice, damaged on purpose.
func TestLedger(t *testing.T) {
	const salt = 7
	events := func(l *ledger) (ids []string) {
		for stream := range 2 {
			for seq := range uint32(4) {
				e := event{stream: stream, app: stream, seq: seq}
				l.note(e, sent)
				o := [...]outcome{stored, duplicate, refused, sent}[seq]
				if o != sent {
					l.note(e, o)
				}
				ids = append(ids, string(e.appendID(nil, 1, salt)))
			}
		}
		return ids
	}
	type found struct {
		app int
		id  string
	}
	f := func(name string, damage func(hits []found, ids []string) []found, lost, dup, phantom int64) {
		t.Helper()
		l := newLedger(salt, 2)
		ids := events(l)
		hits := []found{{0, ids[0]}, {0, ids[1]}, {0, ids[3]}, {1, messagePrefix + ids[4]}, {1, ids[5]}}
		a := new(audit)
		for _, h := range damage(hits, ids) {
			l.find(a, h.app, h.id)
		}
		l.close(a)
		if a.lost != lost || a.duplicate != dup || a.phantom != phantom || a.clean() != (lost+dup+phantom == 0) {
			t.Errorf("%s: %s; want %d lost, %d duplicate, %d phantom", name, a, lost, dup, phantom)
		}
		if a.sent != 8 || a.acknowledged != 4 {
			t.Errorf("%s: %d sent, %d acknowledged; want 8, 4", name, a.sent, a.acknowledged)
		}
	}
	f("nothing wrong", func(h []found, _ []string) []found { return h }, 0, 0, 0)
	f("not acknowledged, not there", func(h []found, _ []string) []found { return append(h[:2], h[3:]...) }, 0, 0, 0)
	f("lost", func(h []found, _ []string) []found { return h[1:] }, 1, 0, 0)
	f("all lost", func([]found, []string) []found { return nil }, 4, 0, 0)
	f("twice", func(h []found, _ []string) []found { return append(h, h[1]) }, 0, 1, 0)
	f("three times", func(h []found, _ []string) []found { return append(h, h[1], h[1]) }, 0, 2, 0)
	f("refused and yet there", func(h []found, ids []string) []found { return append(h, found{0, ids[2]}) }, 0, 0, 1)
	f("in another app", func(h []found, _ []string) []found { h[0].app = 1; return h }, 1, 0, 1)
	f("never sent", func(h []found, _ []string) []found {
		return append(h, found{0, string(event{stream: 1, app: 1, seq: 4}.appendID(nil, 1, salt))}, found{0, "no id of ours"})
	}, 0, 0, 2)
}

// Goal: a repeat that fails does not unsay that the event was acknowledged.
func TestLedgerRepeat(t *testing.T) {
	l := newLedger(1, 1)
	for _, o := range []outcome{sent, stored, sent, refused, duplicate} {
		l.note(event{}, o)
		if got := l.pages[0].outcomes[0]; o != sent && !got.acknowledged() {
			t.Errorf("after %d the event counts as %d", o, got)
		}
	}
}
