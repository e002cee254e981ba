package main

import (
	"fmt"
	"strings"
	"time"
)

// outcome is what the sender of an event knows about it.
type outcome uint8

const (
	unsent    outcome = iota
	sent              // no reply was read: it may be stored or not
	stored            // acknowledged as stored
	duplicate         // acknowledged as stored before
	refused           // the reply said that it was not kept
	outcomes
)

func (o outcome) acknowledged() bool { return o == stored || o == duplicate }

// ledger holds the outcome of every event of one store's life, and after it
// how often each was found. A stream's page is written by that stream alone.
type ledger struct {
	salt  uint64
	pages []page
}

type page struct {
	outcomes []outcome
	found    []uint8
}

func newLedger(salt uint64, streams int) *ledger {
	return &ledger{salt: salt, pages: make([]page, streams)}
}

// note books the outcome of an event. A repeat's reply never unsays that the
// first one was acknowledged.
func (l *ledger) note(e event, o outcome) {
	p := &l.pages[e.stream]
	for uint32(len(p.outcomes)) <= e.seq {
		p.outcomes = append(p.outcomes, unsent)
	}
	if old := p.outcomes[e.seq]; !old.acknowledged() || o.acknowledged() {
		p.outcomes[e.seq] = o
	}
}

// audit compares what the store holds with what the senders were told.
type audit struct {
	sent, acknowledged, found int64
	lost                      int64 // acknowledged, and not found
	duplicate                 int64 // found more than once
	phantom                   int64 // found, and never sent, refused, or in another app
	problems                  []string

	checkProblems int64 // that the store's own check found
	checked       time.Duration
}

const problemsMax = 5

func (a *audit) problem(format string, args ...any) {
	if len(a.problems) < problemsMax {
		a.problems = append(a.problems, fmt.Sprintf(format, args...))
	}
}

// find books one hit that the store holds. app is where it was found.
func (l *ledger) find(a *audit, app int, id string) {
	a.found++
	e, ok := parseID(strings.TrimPrefix(id, messagePrefix), l.salt)
	if !ok || e.stream >= len(l.pages) || int(e.seq) >= len(l.pages[e.stream].outcomes) {
		a.phantom++
		a.problem("app %d holds a hit that was never sent", app)
		return
	}
	p := &l.pages[e.stream]
	switch o := p.outcomes[e.seq]; {
	case e.app != app:
		a.phantom++
		a.problem("app %d holds a hit of app %d", app, e.app)
		return
	case o == unsent || o == refused:
		a.phantom++
		a.problem("app %d holds hit %d of stream %d, which was refused", app, e.seq, e.stream)
	}
	if p.found == nil {
		p.found = make([]uint8, len(p.outcomes))
	}
	if p.found[e.seq]++; p.found[e.seq] > 1 {
		a.duplicate++
		a.problem("app %d holds hit %d of stream %d twice", app, e.seq, e.stream)
		p.found[e.seq] = 1 // keeps the count from running over
	}
}

// close counts what is missing. Call it once, after every find.
func (l *ledger) close(a *audit) {
	for stream := range l.pages {
		p := &l.pages[stream]
		for seq, o := range p.outcomes {
			if o != unsent {
				a.sent++
			}
			if !o.acknowledged() {
				continue
			}
			a.acknowledged++
			if p.found == nil || p.found[seq] == 0 {
				a.lost++
				a.problem("hit %d of stream %d was acknowledged and is not there", seq, stream)
			}
		}
	}
}

// clean reports whether every acknowledged event is there, and nothing else.
func (a *audit) clean() bool {
	return a.lost == 0 && a.duplicate == 0 && a.phantom == 0 && a.checkProblems == 0 && len(a.problems) == 0
}

// String is the line of the report.
func (a *audit) String() string {
	text := fmt.Sprintf("%d sent, %d acknowledged, %d found: **%d lost, %d duplicate, %d phantom**", a.sent, a.acknowledged, a.found, a.lost, a.duplicate, a.phantom)
	if a.checked > 0 {
		text += fmt.Sprintf(", %d problems in the store's own check (%s)", a.checkProblems, a.checked.Round(10*time.Millisecond))
	}
	for _, p := range a.problems {
		text += "\n  - " + p
	}
	return text
}
