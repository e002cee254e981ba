package kafka

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// commandVersion is the first byte of a record that is a command. What a
// command does hangs on its kind: a field that is added must not change it, as
// nodes that do not know the field would come to another result.
const commandVersion = 2

// Tags of a command behind its version. Never reuse one.
const (
	commandApp protowire.Number = iota + 1
	commandID
	commandAt // zigzag
	commandSeed
	commandKind
	commandBody
	commandMAC // always the last field
)

// commandHead is the most that a command takes beside its body.
const commandHead = 1 + (1 + 5) + (2 + 16) + (1 + 10) + (2 + 32) + (1 + 2) + (1 + 5) + macField

// macField is what the signature takes: its tag, its length, SHA-256.
const macField = 2 + sha256.Size

var errForged = errors.New("it is not signed with the key of these store nodes")

// signature is that of bytes of a kind: one of another kind does not do for it.
func signature(key []byte, kind string, b []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(kind + "\x00"))
	mac.Write(b)
	return mac.Sum(nil)
}

// appendCommand makes a record of dst, which is empty. Collectors may write to the
// topic too, so what changes a store is signed: a key that only store nodes have
// tells them apart.
func appendCommand(dst []byte, c *spoor.Command, key []byte) []byte {
	return signCommand(appendUnsigned(dst, c), key)
}

// signCommand appends the signature of a record.
func signCommand(record, key []byte) []byte {
	return putBytes(record, commandMAC, signature(key, "command", record))
}

func appendUnsigned(dst []byte, c *spoor.Command) []byte {
	dst = append(dst, commandVersion)
	dst = putUint(dst, commandApp, uint64(c.App))
	dst = putBytes(dst, commandID, c.ID[:])
	dst = putInt(dst, commandAt, c.At)
	dst = putBytes(dst, commandSeed, c.Seed[:])
	dst = putUint(dst, commandKind, uint64(c.Kind))
	return putBytes(dst, commandBody, c.Body)
}

// readCommand reads a record that begins with commandVersion. The command
// shares no memory with value.
func readCommand(value []byte, bodyMax int, key []byte) (*spoor.Command, error) {
	if at := len(value) - macField; at < 1 || len(key) == 0 || !hmac.Equal(value, signCommand(bytes.Clone(value[:at]), key)) {
		return nil, fmt.Errorf("a command cannot be used: %w", errForged)
	}
	c := new(spoor.Command)
	hasID, hasSeed := false, false
	err := fields(1, value[1:], func(tag protowire.Number, num uint64, _ int, b []byte) error {
		switch tag {
		case commandApp, commandAt, commandKind:
			if b != nil {
				return errWire
			}
		case commandID, commandSeed, commandBody:
			if b == nil {
				return errWire
			}
		}
		switch tag {
		case commandApp:
			if num > 1<<32-1 {
				return errWire
			}
			c.App = spoor.AppID(num)
		case commandID:
			hasID = len(b) == len(c.ID)
			copy(c.ID[:], b)
		case commandAt:
			c.At = protowire.DecodeZigZag(num)
		case commandSeed:
			hasSeed = len(b) == len(c.Seed)
			copy(c.Seed[:], b)
		case commandKind:
			c.Kind = spoor.CommandKind(num)
			return oneByte(num)
		case commandBody:
			if len(b) > bodyMax {
				return fmt.Errorf("its body has %d bytes, and at most %d are taken", len(b), bodyMax)
			}
			c.Body = bytes.Clone(b)
		}
		return nil
	})
	switch {
	case err != nil:
	case !hasID || !hasSeed:
		err = fmt.Errorf("it has no id of %d bytes or no seed of %d", len(c.ID), len(c.Seed))
	case c.App == 0 || c.Kind == 0:
		err = errors.New("it names no app or no kind")
	}
	if err != nil {
		return nil, fmt.Errorf("a command cannot be read: %w", err)
	}
	return c, nil
}

// CommandBytesMax is how many bytes the body of a command may have.
func (t *Topic) CommandBytesMax() int { return t.opts.RecordBytesMax - commandHead }

// Submit puts a command into the partition of its app and returns its offset
// once all in-sync replicas have it. It tries again until ctx ends, for 5 s at
// most. A command whose acknowledgement was lost on the way is then in the log
// twice, under the same ID and maybe with others between: who applies commands
// must know the second one by it. The offset is that of the last one.
//
// spoor.ErrBusy: the brokers did not acknowledge in time; the command may be in
// the log nevertheless, or come into it within moments. ErrTooLarge: it is not in
// the log; see CommandBytesMax. Any other error says what somebody has to change.
// Submit does not keep the command.
func (t *Topic) Submit(ctx context.Context, c *spoor.Command) (offset int64, err error) {
	if c.App == 0 || c.Kind == 0 {
		return 0, fmt.Errorf("cannot submit a command of app %d and kind %d: both must be set", c.App, c.Kind)
	}
	if len(t.opts.CommandKey) == 0 {
		return 0, errors.New("cannot submit a command without Options.CommandKey to sign it")
	}
	if most := t.CommandBytesMax(); len(c.Body) > most {
		return 0, fmt.Errorf("cannot submit a command of %d bytes, at most %d fit: %w", len(c.Body), most, ErrTooLarge)
	}
	ctx, cancel := context.WithTimeout(ctx, t.opts.wait)
	defer cancel()
	// Made anew for each call: a request that was given up may still read it.
	r := record{strconv.AppendUint(nil, uint64(c.App), 10), appendCommand(make([]byte, 0, commandHead+len(c.Body)), c, t.opts.CommandKey)}
	offset, err = t.put(ctx, t.opts.Topic, t.PartitionOf(c.App), r)
	switch why := t.why(t.opts.Topic, r, err); {
	case err == nil:
		return offset, nil
	case passing(err):
		return 0, fmt.Errorf("%w: a command of app %d is not acknowledged: %w", spoor.ErrBusy, c.App, why)
	default:
		return 0, fmt.Errorf("cannot submit a command of app %d: %w", c.App, why)
	}
}
