package store

import (
	"encoding/binary"
	"fmt"

	"github.com/spoorhq/spoor"
)

// The first byte of every key. FORMAT.md draws keys and values.
const (
	prefixApp       = 'A' // settings, salt
	prefixActivity  = 'B' // bitmaps of a day: who was active, who visited
	prefixCount     = 'C' // roll-ups of a day
	prefixDefine    = 'D' // catalogue of custom attributes
	prefixEvent     = 'E' // event ids seen, by week of receipt
	prefixErased    = 'G' // keyed hashes of who was erased
	prefixFormat    = 'F' // what wrote this store
	prefixFeed      = 'V' // what happened, in the order of its commit
	prefixHit       = 'H'
	prefixIdent     = 'I' // identifiers
	prefixJournal   = 'J' // removals whose bytes are not gone yet
	prefixCatalogue = 'K' // tags, lists, segments, and sizes of segments
	prefixSet       = 'L' // bitmaps of an app: live, contacts, aliased, held, objected
	prefixMember    = 'M' // bitmaps of who has a tag, is in a list or in a watched segment
	prefixDelivery  = 'Q' // how far the feed was delivered, and what was not
	prefixNumber    = 'N' // former number → person
	prefixNotice    = 'O' // what a webhook is to be told
	prefixProfile   = 'P'
	prefixReceipt   = 'R' // receipts of removals
	prefixTable     = 'S' // roll-ups of a sealed day, by dimension
	prefixTopic     = 'T' // how far the partitions of topics are stored, and records of them that could not be read
	prefixUncounted = 'U' // hits of a group whose counts were put off
	prefixWriter    = 'W' // the writer's own counters
	prefixAudit     = 'X' // who read, exported, changed or erased what
)

// appPrefixes are the prefixes whose keys go on with an app id.
var appPrefixes = []byte{
	prefixApp, prefixActivity, prefixCount, prefixDefine, prefixDelivery, prefixErased, prefixEvent, prefixFeed, prefixHit,
	prefixIdent, prefixJournal, prefixCatalogue, prefixSet, prefixMember, prefixNotice, prefixNumber, prefixProfile, prefixReceipt, prefixTable, prefixWriter, prefixAudit,
}

const (
	appSettings = 0 // of prefixApp
	appSalt     = 1

	activityActive  = 0 // of prefixActivity
	activityVisitor = 1
	activityNew     = 2 // visitors who never came before
	activityKnown   = 3 // who got a first contact that day

	setLive     = 0 // of prefixSet
	setContacts = 1
	setAliased  = 2
	setHeld     = 3 // a hold or restriction is on record, lapsed or not
	setObjected = 4 // is left out of everything
	setCount    = 5

	catalogueSize  = 16 // of prefixCatalogue, beside the kinds of collections
	catalogueWatch = 17

	deliveryCursor = 0 // of prefixDelivery
	deliveryDead   = 1

	writerApp = 0 // of prefixWriter, app > 0
	writerDay = 1

	writerRetained = 2
)

// hash is a keyed hash of something that must not stand in a key.
type hash [16]byte

func key1(dst []byte, prefix byte, app spoor.AppID) []byte {
	return binary.BigEndian.AppendUint32(append(dst, prefix), uint32(app))
}

// appendDay keeps the order of days, negative ones included.
func appendDay(dst []byte, day spoor.Day) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(day)^1<<31)
}

func readDay(b []byte) spoor.Day {
	return spoor.Day(binary.BigEndian.Uint32(b) ^ 1<<31)
}

func appKey(app spoor.AppID, what byte) []byte {
	return append(key1(nil, prefixApp, app), what)
}

func activityKey(dst []byte, app spoor.AppID, day spoor.Day, kind byte, chunk uint16) []byte {
	dst = append(appendDay(key1(dst, prefixActivity, app), day), kind)
	return binary.BigEndian.AppendUint16(dst, chunk)
}

func setKey(dst []byte, app spoor.AppID, set byte, chunk uint16) []byte {
	return binary.BigEndian.AppendUint16(append(key1(dst, prefixSet, app), set), chunk)
}

// catalogueKey is an entry of the catalogue; id 0 holds the newest id of the kind.
func catalogueKey(dst []byte, app spoor.AppID, at collectionRef) []byte {
	dst = append(key1(dst, prefixCatalogue, app), byte(at.kind))
	return binary.BigEndian.AppendUint32(dst, at.id)
}

// sizesKey is the prefix of a segment's sizes, one a day.
func sizesKey(dst []byte, app spoor.AppID, segment uint32) []byte {
	return binary.BigEndian.AppendUint32(append(key1(dst, prefixCatalogue, app), catalogueSize), segment)
}

func sizeKey(dst []byte, app spoor.AppID, segment uint32, day spoor.Day) []byte {
	return appendDay(sizesKey(dst, app, segment), day)
}

// watchKey says how far the watched segments of an app are.
func watchKey(app spoor.AppID) []byte {
	return append(key1(nil, prefixCatalogue, app), catalogueWatch)
}

// membersKey is the prefix of the chunks of a collection's bitmap.
func membersKey(dst []byte, app spoor.AppID, of collectionRef) []byte {
	dst = append(key1(dst, prefixMember, app), byte(of.kind))
	return binary.BigEndian.AppendUint32(dst, of.id)
}

func memberKey(dst []byte, app spoor.AppID, of collectionRef, chunk uint16) []byte {
	return binary.BigEndian.AppendUint16(membersKey(dst, app, of), chunk)
}

func countKey(dst []byte, app spoor.AppID, day spoor.Day, dim spoor.Dimension, text uint64) []byte {
	dst = append(appendDay(key1(dst, prefixCount, app), day), byte(dim))
	return binary.BigEndian.AppendUint64(dst, text)
}

func defineKey(dst []byte, app spoor.AppID, name uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(dst, prefixDefine, app), name)
}

func eventKey(dst []byte, app spoor.AppID, week uint32, id hash) []byte {
	dst = binary.BigEndian.AppendUint32(key1(dst, prefixEvent, app), week)
	return append(dst, id[:]...)
}

// weekOf is the week of receipt of an event, counted from 1970.
func weekOf(receivedMs int64) uint32 { return uint32(receivedMs / (7 * 86400 * 1000)) }

func identKey(dst []byte, app spoor.AppID, kind spoor.Lookup, id hash) []byte {
	return append(append(key1(dst, prefixIdent, app), byte(kind)), id[:]...)
}

// sharedIdentKey is for kinds that several profiles may share.
func sharedIdentKey(dst []byte, app spoor.AppID, kind spoor.Lookup, id hash, n spoor.Number) []byte {
	return binary.BigEndian.AppendUint32(identKey(dst, app, kind, id), uint32(n))
}

// feedKey is that of a group's entries, by the number of the first.
func feedKey(dst []byte, app spoor.AppID, first uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(dst, prefixFeed, app), first)
}

func profileKey(dst []byte, app spoor.AppID, n spoor.Number) []byte {
	return binary.BigEndian.AppendUint32(key1(dst, prefixProfile, app), uint32(n))
}

func numberKey(dst []byte, app spoor.AppID, n spoor.Number) []byte {
	return binary.BigEndian.AppendUint32(key1(dst, prefixNumber, app), uint32(n))
}

func writerAppKey(dst []byte, app spoor.AppID) []byte {
	return append(key1(dst, prefixWriter, app), writerApp)
}

func writerDayKey(dst []byte, app spoor.AppID, day spoor.Day) []byte {
	return appendDay(append(key1(dst, prefixWriter, app), writerDay), day)
}

// writerDaysKey is the prefix of the accounts of all days of an app.
func writerDaysKey(dst []byte, app spoor.AppID) []byte {
	return append(key1(dst, prefixWriter, app), writerDay)
}

// writerRetainedKey says how far the daily work of retention is in an app.
func writerRetainedKey(app spoor.AppID) []byte {
	return append(key1(nil, prefixWriter, app), writerRetained)
}

// storeKey holds the counters of the whole store. No app has number 0.
func storeKey() []byte { return key1(nil, prefixWriter, 0) }

// uncountedKey is a slot of the ring of groups.
func uncountedKey(slot uint64) []byte {
	return binary.BigEndian.AppendUint16([]byte{prefixUncounted}, uint16(slot))
}

// sourceKey is how far a partition of a topic is stored.
func sourceKey(dst []byte, of sourceRef) []byte {
	return binary.BigEndian.AppendUint32(append(append(dst, prefixTopic), of.topic[:]...), of.partition)
}

const sourceKeyBytes = 1 + 16 + 4

// poisonedKey is a slot of the list of records that could not be read.
func poisonedKey(dst []byte, of sourceRef, slot uint16) []byte {
	return binary.BigEndian.AppendUint16(sourceKey(dst, of), slot)
}

// knownCommandKey is a slot of the list of commands that were applied lately.
func knownCommandKey(dst []byte, of sourceRef, slot uint16) []byte {
	return binary.BigEndian.AppendUint16(append(sourceKey(dst, of), 'c'), slot)
}

func formatKey() []byte { return []byte{prefixFormat} }

func erasedKey(dst []byte, app spoor.AppID, kind spoor.Lookup, id hash) []byte {
	return append(append(key1(dst, prefixErased, app), byte(kind)), id[:]...)
}

func journalKey(dst []byte, app spoor.AppID, tick uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(dst, prefixJournal, app), tick)
}

func noticeKey(dst []byte, app spoor.AppID, id uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(dst, prefixNotice, app), id)
}

// deliveryKey is how far the feed of an app was delivered.
func deliveryKey(dst []byte, app spoor.AppID) []byte {
	return append(key1(dst, prefixDelivery, app), deliveryCursor)
}

// deadLettersKey is the prefix of an app's dead letters.
func deadLettersKey(dst []byte, app spoor.AppID) []byte {
	return append(key1(dst, prefixDelivery, app), deliveryDead)
}

func deadLetterKey(dst []byte, app spoor.AppID, from uint64) []byte {
	return binary.BigEndian.AppendUint64(deadLettersKey(dst, app), from)
}

func receiptKey(dst []byte, app spoor.AppID, id uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(dst, prefixReceipt, app), id)
}

func countDayKey(dst []byte, app spoor.AppID, day spoor.Day) []byte {
	return appendDay(key1(dst, prefixCount, app), day)
}

func tableDayKey(dst []byte, app spoor.AppID, day spoor.Day) []byte {
	return appendDay(key1(dst, prefixTable, app), day)
}

func tableKey(dst []byte, app spoor.AppID, day spoor.Day, dim spoor.Dimension) []byte {
	return append(tableDayKey(dst, app, day), byte(dim))
}

func activityDayKey(dst []byte, app spoor.AppID, day spoor.Day) []byte {
	return appendDay(key1(dst, prefixActivity, app), day)
}

// countDimension is the dimension of a roll-up's key.
func countDimension(key []byte) spoor.Dimension { return spoor.Dimension(key[9]) }

// auditKey is an entry of an audit log; number 0 is the record of its ends.
func auditKey(dst []byte, app spoor.AppID, number uint64) []byte {
	return binary.BigEndian.AppendUint64(key1(dst, prefixAudit, app), number)
}

const auditKeyBytes = 1 + 4 + 8

func hitDayKey(dst []byte, app spoor.AppID, day spoor.Day) []byte {
	return appendDay(key1(dst, prefixHit, app), day)
}

func hitProfileKey(dst []byte, app spoor.AppID, day spoor.Day, n spoor.Number) []byte {
	return binary.BigEndian.AppendUint32(hitDayKey(dst, app, day), uint32(n))
}

func hitTimeKey(dst []byte, app spoor.AppID, day spoor.Day, n spoor.Number, ms int64) []byte {
	return binary.BigEndian.AppendUint64(hitProfileKey(dst, app, day, n), uint64(ms)^1<<63)
}

func hitKey(dst []byte, app spoor.AppID, day spoor.Day, n spoor.Number, ms int64, id hash) []byte {
	return append(hitTimeKey(dst, app, day, n, ms), id[:]...)
}

const hitKeyBytes = 1 + 4 + 4 + 4 + 8 + 16

// place is where a hit stands: its key, taken apart.
type place struct {
	app     spoor.AppID
	day     spoor.Day
	profile spoor.Number
	time    int64
	id      hash
}

func parseHitKey(key []byte) (p place, err error) {
	if len(key) != hitKeyBytes || key[0] != prefixHit {
		return p, fmt.Errorf("cannot read hit key of %d bytes: want %d", len(key), hitKeyBytes)
	}
	p.app = spoor.AppID(binary.BigEndian.Uint32(key[1:]))
	p.day = readDay(key[5:])
	p.profile = spoor.Number(binary.BigEndian.Uint32(key[9:]))
	p.time = int64(binary.BigEndian.Uint64(key[13:]) ^ 1<<63)
	copy(p.id[:], key[21:])
	return p, nil
}

// after is the smallest key that is greater than all keys with this prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
