// Package retention decides what may go, and when: it knows the promises of an
// app and asks the store to keep them. The store knows only how to remove.
//
// # Who falls due
//
// A profile that is anonymous and idle is removed with all its hits. Anonymous:
// none of the five contacts is known (user id, e-mail, phone, consent to web
// push, mobile identifier). Idle: not active for idle_days full days of the
// app's calendar, 60 by default, 0 for never. A profile that was last active on
// day D is decided about at the midnight that begins day D + 61, so its last
// activity is then between 60 and 61 days old. A profile that never was active
// counts from the day it was made. What counts as activity stands in the table
// of spoor.Kind.
//
// # What happens
//
//	decide   Sweeper   at each app's midnight, and once after the start: lists the
//	                   candidates from sets of numbers, without reading a profile
//	remove   store     the one writer looks at each profile again, removes profile
//	                   and identifiers, and writes a journal; from here on no read
//	                   shows it, and a hit that comes later begins a new profile
//	reclaim  store     covers the hits with tombstones and compacts the days that
//	                   are due, until no tombstone is left over them
//
// Days of which one in ten bytes or more went are rewritten in the same run,
// others before bytes_gone_days have passed; Sweeper.Sweep with full does all at
// once. Numbers of sealed days stay as they were counted: stored = present + swept +
// erased. Hits, hits of a kind and statistics that are older than the app says go in
// the same run (see aged), whosoever they are; rights and holds keep (see askedFor).
//
// # In a cluster
//
// Stores that apply the same commands decide by these: Retain does for one app what
// falls due, by the time of the command and the state of the store alone, and At
// gives a view for a request. With Options.Elsewhere Run decides nothing, and only
// gives bytes back and shortens audit logs.
//
// # What will happen
//
// Outlook counts from sets of numbers who falls due in the next days, Plan reads
// each who does, Judge says of one profile what keeps it.
//
// # What is told
//
// Each run, erasure and termination leaves a receipt. A Notifier tells the app's
// webhook what other systems have to follow.
//
// # Erasing
//
// Erase removes one person on request, in open days too, and asks Run to give the
// bytes back at once. It needs no clock and waits for no midnight.
//
// # Clocks
//
// All times come from Options.Now. A wall clock that departs from the monotonic
// one by more than five minutes stops sweeping until the program is started
// again: a wrong date would remove people who are not due. After a start the
// first sweep waits for Options.Grace, and the log says what will go.
package retention
