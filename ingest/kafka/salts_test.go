package kafka

import (
	"bytes"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: all collectors use one salt a day, whoever comes first and at the same
// time; a salt that is too old counts no more; each day has its own.
// Method: many offer a salt of the same day at once, over connections of their own.
func TestSaltsAgree(t *testing.T) {
	o := anyCluster(t).options(t)
	now := time.Now().UnixMilli()
	const collectors = 6
	var all sync.WaitGroup
	got, made := make([][]byte, collectors), make([]int64, collectors)
	offer := func(s *Salts, day spoor.Day, at int64) (int64, []byte) {
		salt := make([]byte, 32)
		rand.Read(salt)
		at, salt, err := s.Share(day, at, salt)
		if err != nil {
			t.Error(err)
		}
		return at, salt
	}
	for i := range collectors {
		s := openTopic(t, o).Salts()
		all.Go(func() { made[i], got[i] = offer(s, 20_000, now+int64(i)) })
	}
	all.Wait()
	for i := range got {
		if len(got[i]) != 32 || !bytes.Equal(got[i], got[0]) || made[i] != made[0] {
			t.Errorf("collector %d uses %x of %d, the first %x of %d", i, got[i], made[i], got[0], made[0])
		}
	}
	s := openTopic(t, o).Salts()
	if at, salt := offer(s, 20_000, now+1000); at != made[0] || !bytes.Equal(salt, got[0]) {
		t.Error("one that starts later uses another salt")
	}
	if _, salt := offer(s, 20_001, now); bytes.Equal(salt, got[0]) {
		t.Error("two days have one salt")
	}
	late := now + collectors + saltLife.Milliseconds() // of all that were offered
	if at, salt := offer(s, 20_000, late); at != late || bytes.Equal(salt, got[0]) {
		t.Error("a salt is in use after 48 hours")
	}
}

// Goal: a topic that keeps salts for longer is refused, and without brokers the
// answer is an error, soon.
func TestSaltsAreRefused(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	topic := openTopic(t, o)
	if err := c.fake.CreateTopic(o.salts(), 1, map[string]string{"retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := topic.Salts().Share(1, 1, make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "keeps salts for longer") {
		t.Errorf("a topic that keeps salts for ever: %v", err)
	}
	c.fake.Close()
	s := topic.Salts()
	began := time.Now()
	for range 20 {
		if _, _, err := s.Share(1, 1, make([]byte, 32)); err == nil {
			t.Error("a salt was agreed on without brokers")
		}
	}
	if took := time.Since(began); took > 3*saltWait {
		t.Errorf("20 askers waited for %s", took)
	}
}
