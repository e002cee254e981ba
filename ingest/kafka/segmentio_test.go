package kafka

import (
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Goal: a reader gets over batches of which nothing is left, as brokers would
// answer with the same ones for ever.
// Method: answers as brokers give them after compaction, which kfake does not:
// the batch around the offset without its records, batches behind it, markers
// of transactions, and an answer without batches, at the end of the log.
func TestSkipEmpty(t *testing.T) {
	batch := func(base int64) kafka.RecordReader {
		return &protocol.RecordBatch{BaseOffset: base, Records: protocol.NewRecordReader()}
	}
	for _, test := range []struct {
		name       string
		batches    []kafka.RecordReader
		from, want int64
	}{
		{"nothing came", nil, 7, 7},
		{"the batch around the offset", []kafka.RecordReader{batch(5)}, 7, 8},
		{"batches behind it", []kafka.RecordReader{batch(5), batch(9), batch(12)}, 7, 13},
		{"a marker", []kafka.RecordReader{&protocol.ControlBatch{BaseOffset: 7}}, 7, 8},
	} {
		if got := skipEmpty(&protocol.RecordStream{Records: test.batches}, test.from); got != test.want {
			t.Errorf("%s: from %d on to %d, want %d", test.name, test.from, got, test.want)
		}
	}
	if got := skipEmpty(kafka.NewRecordReader(), 7); got != 7 {
		t.Errorf("an empty answer leads from 7 to %d", got)
	}
}
