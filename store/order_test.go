package store

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Goal: a batch in order does what the batch does: of one key the records take effect
// as they were written, and a range removes what was written before it and nothing else.
// Method: random batches on few keys, short and long ones that begin alike, into two
// databases, one of them in order. All keys of a batch without ranges must then ascend.
func TestOrderedBatchDoesTheSame(t *testing.T) {
	t.Parallel()
	open := func() *pebble.DB {
		db, err := pebble.Open("db", &pebble.Options{FS: vfs.NewMem(), Merger: pebble.DefaultMerger}) // which appends
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return db
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	plain, ordered := open(), open()
	var scratch []slot
	inOrderSeen := 0
	for seed := range int64(200) {
		fill := func(db *pebble.DB, seed int64) *pebble.Batch {
			r := rand.New(rand.NewSource(seed))
			b := db.NewBatch()
			for range 1 + r.Intn(200) {
				key := []byte(fmt.Sprintf("%.*s%d", r.Intn(30), "the first sixteen bytes are alike", r.Intn(4)))
				switch value := []byte{byte(r.Intn(256))}; r.Intn(6) {
				case 0:
					must(b.Set(key, value, nil))
				case 1:
					must(b.Delete(key, nil))
				case 2:
					if seed%4 == 0 && r.Intn(8) == 0 {
						must(b.DeleteRange(key, append(key, 0xff), nil))
					}
				default:
					must(b.Merge(key, value, nil))
				}
			}
			return b
		}
		must(fill(plain, seed).Commit(pebble.NoSync))
		b, memory, err := inOrder(ordered, fill(ordered, seed), scratch)
		must(err)
		scratch = memory
		var before []byte
		ascending := true
		for rest := b.Reader(); len(rest) > 0; {
			_, key, _, _, err := rest.Next()
			must(err)
			ascending = ascending && string(before) <= string(key)
			before = key
		}
		if ascending {
			inOrderSeen++
		}
		must(b.Commit(pebble.NoSync))
		if got, want := everything(t, ordered), everything(t, plain); got != want {
			t.Fatalf("seed %d:\n%s\nwant\n%s", seed, got, want)
		}
	}
	if inOrderSeen < 150 {
		t.Fatalf("%d of 200 batches were in order", inOrderSeen)
	}
}

func everything(t *testing.T, db *pebble.DB) (all string) {
	t.Helper()
	err := scanSpan(db, []byte{0}, []byte{0xff}, func(key, value []byte) error {
		all += fmt.Sprintf("%s = %x\n", key, value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
