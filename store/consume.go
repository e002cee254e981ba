package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Portion is a run of records of one partition of a topic, with the hits in
// them. Offsets number the records of a partition from 0 on.
type Portion struct {
	Topic     string
	Partition int
	First     int64    // of the first record
	Next      int64    // behind the last record
	Command   [16]byte // of a portion that is a command: its ID, which is then known; see Commands
	Missing   int64    // records before First that were gone from the topic before they were read
	Hits      []spoor.Hit
	Poisoned  []Poisoned // records of the run that cannot be read

	Partitions int // of the topic, where an app may be created (see At); 0: not told
}

// Poisoned is a record that could not be read. The store keeps no byte of it: it
// may hold personal data.
type Poisoned struct {
	Offset int64
	Value  []byte   // only given to Consume
	Why    string   // at most 200 bytes; must not repeat what the record holds
	At     int64    // when it was met, Unix ms; set by the store
	Bytes  int64    // its length; set by the store
	Sum    [16]byte // keyed hash of it; set by the store
}

// Offset is how far a partition of a topic is stored.
type Offset struct {
	Topic     string
	Partition int
	Next      int64      // the first record that is not stored
	Missed    int64      // records that were gone from the topic before they were read
	Poisoned  int64      // records that could not be read, in all
	Newest    []Poisoned // the newest of them, at most 64, newest first
	Left      bool       // its apps were removed from this store, which must not read it again; see Leave
}

// OffsetError refuses a portion that does not begin where its partition is
// stored up to.
type OffsetError struct{ First, Next, Stored int64 }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("cannot store the records %d to %d of a partition that is stored up to %d; read on from there", e.First, e.Next-1, e.Stored)
}

const (
	poisonedKept = 64   // of a partition
	commandsKept = 4096 // of a partition: some times what comes while one is sent again
	poisonedWhy  = 200
	topicMax     = 249 // Kafka's own bound of a name
)

type sourceRef struct {
	topic     hash
	partition uint32
}

// source is what the store knows of a partition of a topic.
type source struct {
	Offset
	salt salt   // keys the sums of poisoned records
	made uint32 // highest number of an app that was created in the partition; 0: none was
	last uint64 // commands that were applied, in all
}

const (
	sourceTopic protowire.Number = iota + 1
	sourceNext
	sourceMissed
	sourcePoisoned
	sourceSalt
	sourceMade
	sourceCommands
	sourceLeft
)

const (
	poisonedOffset protowire.Number = iota + 1
	poisonedBytes
	poisonedText
	poisonedAt
	poisonedSum
)

// topicHash stands for a topic's name in keys, so that they have a fixed width.
func topicHash(topic string) (h hash) {
	sum := sha256.Sum256([]byte(topic))
	copy(h[:], sum[:])
	return h
}

func (c *source) appendTo(dst []byte) []byte {
	dst = putString(appendHeader(dst), sourceTopic, c.Topic)
	dst = putInt(dst, sourceNext, c.Next)
	dst = putInt(dst, sourceMissed, c.Missed)
	dst = putInt(dst, sourcePoisoned, c.Poisoned)
	dst = putBytes(dst, sourceSalt, c.salt[:])
	dst = putUint(dst, sourceMade, uint64(c.made))
	dst = putUint(dst, sourceCommands, c.last)
	if c.Left {
		dst = putUint(dst, sourceLeft, 1)
	}
	return dst
}

func readSource(value []byte) (c *source, err error) {
	c = new(source)
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case sourceTopic:
			c.Topic = string(b)
		case sourceNext:
			c.Next = zigzag(num)
		case sourceMissed:
			c.Missed = zigzag(num)
		case sourcePoisoned:
			c.Offset.Poisoned = zigzag(num)
		case sourceSalt:
			copy(c.salt[:], b)
		case sourceMade:
			c.made = uint32(num)
		case sourceCommands:
			c.last = num
		case sourceLeft:
			c.Left = num != 0
		}
		return nil
	})
	return c, err
}

func (p *Poisoned) appendTo(dst []byte) []byte {
	// One more, so that the first record of a partition has a field too.
	dst = putInt(appendHeader(dst), poisonedOffset, p.Offset+1)
	dst = putInt(dst, poisonedBytes, p.Bytes)
	dst = putString(dst, poisonedText, p.Why)
	dst = putInt(dst, poisonedAt, p.At)
	return putBytes(dst, poisonedSum, p.Sum[:])
}

func readPoisoned(value []byte) (p Poisoned, err error) {
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case poisonedOffset:
			p.Offset = zigzag(num) - 1
		case poisonedBytes:
			p.Bytes = zigzag(num)
		case poisonedText:
			p.Why = string(b)
		case poisonedAt:
			p.At = zigzag(num)
		case poisonedSum:
			copy(p.Sum[:], b)
		}
		return nil
	})
	return p, err
}

// Consume stores the hits of a portion and, in the same batch, how far its
// partition is stored, and returns once that is fsynced. So whatever a topic
// gives twice counts once: a portion that is stored already changes nothing, and
// its hits come back as duplicates. One of which a part is stored, or before which
// records are left out that are not said to be missing, is refused with an
// *OffsetError. What is said to be missing is counted and logged.
// Full means spoor.ErrBusy at once.
func (s *Store) Consume(p *Portion) error { return s.StartConsume(p)() }

// StartConsume lines a portion up and returns what waits for Consume's answer, to be
// called once: while one portion is fsynced the next ones are decided about.
// Where one fails, those that were lined up behind it are refused with an
// *OffsetError, undecided. The portion is the store's until then.
func (s *Store) StartConsume(p *Portion) (wait func() error) {
	if err := p.validate(); err != nil {
		return func() error { return err }
	}
	now := s.opts.Now().UnixMilli()
	for i := range p.Poisoned {
		p.Poisoned[i].At = now
	}
	r := requests.Get().(*request)
	r.hits, r.do, r.alone, r.bytes, r.err = p.Hits, func(g *group) error { return g.consume(p) }, false, weight(p.Hits)+1024, nil
	if err := s.post(r, false); err != nil {
		return func() error { return err }
	}
	return r.wait
}

func (p *Portion) validate() error {
	switch {
	case p.Topic == "" || len(p.Topic) > topicMax || !utf8.ValidString(p.Topic):
		return fmt.Errorf("cannot store records of a topic with a name of %d bytes: want 1 to %d", len(p.Topic), topicMax)
	case p.Partition < 0 || p.Partition > math.MaxInt32:
		return fmt.Errorf("cannot store records of partition %d: want 0 or more", p.Partition)
	case p.First < 0 || p.Next <= p.First || p.Missing < 0 || p.Missing > p.First:
		return fmt.Errorf("cannot store the records from %d to before %d of partition %d, with %d missing before: want at least one, and offsets from 0 on", p.First, p.Next, p.Partition, p.Missing)
	}
	return nil
}

// consume runs in the writer. What it leaves behind where a hit cannot be
// decided goes with the group.
func (g *group) consume(p *Portion) error {
	c, err := g.source(p.Topic, p.Partition)
	switch {
	case err != nil:
		g.err = err
		return nil
	case p.Next <= c.Next:
		for i := range p.Hits {
			p.Hits[i].Outcome, p.Hits[i].Reason = spoor.Duplicate, ""
		}
		return nil
	case p.First-p.Missing != c.Next:
		return &OffsetError{p.First, p.Next, c.Next}
	case c.Left:
		return fmt.Errorf("cannot store records of partition %d of topic %s: this store has left it", p.Partition, p.Topic)
	}
	for i := range p.Hits {
		if h := &p.Hits[i]; h.Outcome == spoor.Pending {
			if g.err = g.hit(h); g.err != nil {
				return nil
			}
		}
	}
	g.advance(c, p)
	return nil
}

// advance notes that a partition is stored up to the end of a portion.
func (g *group) advance(c *source, p *Portion) {
	if p.Missing > 0 {
		c.Missed += p.Missing
		g.w.s.log.Error("records were gone from the topic before they were read", "topic", p.Topic, "partition", p.Partition,
			"from", c.Next, "to", p.First-1, "records", p.Missing, "hint", "what they held is lost; give the topic a longer retention, and look why this store was so far behind")
	}
	for i := range p.Poisoned {
		g.poisoned(c, &p.Poisoned[i])
	}
	if p.Command != [16]byte{} {
		key := knownCommandKey(nil, sourceRef{topicHash(c.Topic), uint32(c.Partition)}, uint16(c.last%commandsKept))
		g.set(key, append(appendHeader(nil), p.Command[:]...))
		c.last++
	}
	c.Next = p.Next
	g.putSource(c)
}

// Commands lists the ids of the newest 4096 commands of a partition, oldest first.
// A command whose acknowledgement was lost stands in the log twice; the second
// one is known by its id, on every node alike.
func (s *Store) Commands(topic string, partition int) (ids [][16]byte, err error) {
	ref := sourceRef{topicHash(topic), uint32(partition)}
	err = s.view(func(db *pebble.DB) error {
		c := new(source)
		err := get(db, sourceKey(nil, ref), func(value []byte) (err error) {
			c, err = readSource(value)
			return err
		})
		for n := c.last - min(c.last, commandsKept); err == nil && n < c.last; n++ {
			err = get(db, knownCommandKey(nil, ref, uint16(n%commandsKept)), func(value []byte) error {
				if len(value) != headerBytes+16 {
					return errValue
				}
				ids = append(ids, [16]byte(value[headerBytes:]))
				return nil
			})
		}
		if err != nil {
			return fmt.Errorf("cannot read the commands of partition %d of topic %s: %w", partition, topic, err)
		}
		return nil
	})
	return ids, err
}

// AppMade reports whether an app of this number was ever made, as far as the
// partition is stored that its hits are in.
func (s *Store) AppMade(topic string, partition int, id spoor.AppID) (made bool, err error) {
	err = s.change(func(g *group) error {
		c, err := g.source(topic, partition)
		if err == nil {
			made = uint32(id) <= max(c.made, g.w.appsAlone)
		}
		return err
	})
	return made, err
}

// Rewind makes a partition be read from its first record again: its topic is
// another one of the same name. Hits that were stored from the former one are
// known by their ids.
func (s *Store) Rewind(topic string, partition int) error {
	if err := (&Portion{Topic: topic, Partition: partition, Next: 1}).validate(); err != nil {
		return err
	}
	return s.change(func(g *group) error {
		c, err := g.source(topic, partition)
		if err != nil {
			return err
		}
		c.Next = 0
		g.putSource(c)
		return nil
	})
}

// Leave removes the apps of a partition with all their data from this store, because
// another one has them: without receipts, which are of what is removed everywhere,
// and whatever holds it. The partition cannot be stored any more. The bytes go with the
// next Reclaim.
func (s *Store) Leave(topic string, partition int, apps []spoor.AppID) error {
	if err := (&Portion{Topic: topic, Partition: partition, Next: 1}).validate(); err != nil {
		return err
	}
	return s.change(func(g *group) error {
		c, err := g.source(topic, partition)
		if err != nil {
			return err
		}
		for _, id := range apps {
			if s.apps.Load().byID[id] == nil {
				continue
			}
			if err := g.dropApp(id, &journal{at: s.opts.Now().UnixMilli(), erased: true, app: id}); err != nil {
				return err
			}
		}
		c.Left = true
		g.putSource(c)
		return nil
	})
}

// source gives the state of a partition, for this group to change.
func (g *group) source(topic string, partition int) (*source, error) {
	w := g.w
	ref := sourceRef{topicHash(topic), uint32(partition)}
	if c := w.sources[ref]; c != nil {
		return c, nil
	}
	var c *source
	err := get(w.db, sourceKey(nil, ref), func(value []byte) (err error) {
		c, err = readSource(value)
		return err
	})
	if err == nil && c == nil {
		c = &source{Offset: Offset{Topic: topic, Partition: partition}}
		_, err = io.ReadFull(w.s.opts.Rand, c.salt[:])
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read how far partition %d of topic %s is stored: %w", partition, topic, err)
	}
	c.Partition = partition
	if w.sources == nil {
		w.sources = map[sourceRef]*source{}
	}
	w.sources[ref] = c
	return c, nil
}

func (g *group) putSource(c *source) {
	g.set(sourceKey(nil, sourceRef{topicHash(c.Topic), uint32(c.Partition)}), c.appendTo(nil))
}

// poisoned lists a record that cannot be read, in the place of the oldest one.
func (g *group) poisoned(c *source, p *Poisoned) {
	p.Bytes = int64(len(p.Value))
	p.Sum = c.salt.hash(hashPoisoned, string(p.Value))
	if p.Why = strings.ToValidUTF8(p.Why, ""); len(p.Why) > poisonedWhy {
		p.Why = strings.ToValidUTF8(p.Why[:poisonedWhy], "")
	}
	key := poisonedKey(nil, sourceRef{topicHash(c.Topic), uint32(c.Partition)}, uint16(c.Offset.Poisoned%poisonedKept))
	g.set(key, p.appendTo(nil))
	c.Offset.Poisoned++
}

// Offsets lists how far the partitions of all topics are stored.
func (s *Store) Offsets() (list []Offset, err error) {
	err = s.still(func(db pebble.Reader) error {
		return scanSources(db, func(o *Offset) { list = append(list, *o) }, func(string, ...any) {})
	})
	return list, err
}

// scanSources reads all partitions, and tells bad of what does not fit.
func scanSources(db pebble.Reader, fn func(*Offset), bad func(format string, args ...any)) error {
	var last []byte // key of the partition to which poisoned records belong
	var now *Offset
	var slots map[uint16]Poisoned
	end := func() {
		if now == nil {
			return
		}
		kept := min(now.Poisoned, poisonedKept)
		for i := range kept {
			slot := uint16((now.Poisoned - 1 - i) % poisonedKept)
			p, ok := slots[slot]
			if !ok {
				bad("partition %d of topic %s: poisoned record %d is not listed", now.Partition, now.Topic, now.Poisoned-i)
				continue
			}
			if delete(slots, slot); p.Offset < 0 || p.Bytes < 0 {
				bad("partition %d of topic %s: a poisoned record is said to stand at %d and to have %d bytes", now.Partition, now.Topic, p.Offset, p.Bytes)
			}
			now.Newest = append(now.Newest, p)
		}
		if len(slots) > 0 {
			bad("partition %d of topic %s: %d poisoned records are listed too many", now.Partition, now.Topic, len(slots))
		}
		fn(now)
	}
	err := scan(db, []byte{prefixTopic}, func(key, value []byte) error {
		switch {
		case len(key) == sourceKeyBytes:
			end()
			now, slots, last = nil, map[uint16]Poisoned{}, bytes.Clone(key)
			c, err := readSource(value)
			if err != nil {
				bad("the offset under %x cannot be read: %v", key, err)
				return nil
			}
			c.Partition = int(be32(key[1+len(hash{}):]))
			if th := topicHash(c.Topic); !bytes.Equal(th[:], key[1:1+len(th)]) || c.Next < 0 || c.Missed < 0 || c.Offset.Poisoned < 0 {
				bad("the offset under %x says topic %q, next record %d", key, c.Topic, c.Next)
			}
			now = &c.Offset
		case len(key) == sourceKeyBytes+3 && last != nil && bytes.HasPrefix(key, last) && key[sourceKeyBytes] == 'c' && len(value) == headerBytes+16:
		case len(key) == sourceKeyBytes+2 && last != nil && bytes.HasPrefix(key, last):
			p, err := readPoisoned(value)
			if err != nil {
				bad("the poisoned record under %x cannot be read: %v", key, err)
			}
			slots[binary.BigEndian.Uint16(key[sourceKeyBytes:])] = p
		default:
			bad("a key of %d bytes stands among the offsets of topics", len(key))
		}
		return nil
	})
	if err == nil {
		end()
	}
	return err
}

// checkSources verifies how far topics are stored.
func checkSources(db pebble.Reader, r *Report) error {
	err := scanSources(db, func(*Offset) {}, r.problem)
	if err != nil {
		return fmt.Errorf("cannot check the offsets of topics: %w", err)
	}
	return nil
}
