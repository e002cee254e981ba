package kafka

import (
	"runtime"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: brokers that stay away do not make goroutines pile up: the client's
// connections are dropped and made anew after each failure.
// Method: writes, commands, announcements and lookups against closed brokers for
// a while; what runs then is compared with what ran before, and with what is left
// after Close.
func TestNoLeak(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.wait = 200 * time.Millisecond
	topic := openTopic(t, o)
	s := topic.Sink()
	if err := s.Write([]spoor.Hit{{App: 1}}); err != nil {
		t.Fatal(err)
	}
	announce(t, topic, aNode("a", 1))
	c.fake.Close()
	before := runtime.NumGoroutine()
	for start := time.Now(); time.Since(start) < 3*time.Second; {
		if err := s.Write([]spoor.Hit{{App: 1}}); err == nil {
			t.Fatal("a write without brokers was acknowledged")
		}
		if _, err := topic.Submit(t.Context(), aCommand(1, "{}")); err == nil {
			t.Fatal("a command without brokers was acknowledged")
		}
		if err := topic.Announce(t.Context(), aNode("a", 1)); err == nil {
			t.Fatal("a node without brokers was announced")
		}
		if _, _, err := topic.End(t.Context(), 0); err == nil {
			t.Fatal("a topic without brokers has an end")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := topic.Close(); err != nil {
		t.Fatal(err)
	}
	poll(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}
