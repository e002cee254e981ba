package query

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Figures are the counters of the process since its start, and what it holds
// now.
type Figures struct {
	Hits     int64 // stored
	Refused  int64 // turned away: single hits, requests and connections
	Refusals []Refusal

	Groups        int64         // batches that were synced to disk
	Fsync         time.Duration // of the last of them
	QueueBytes    int64         // that wait to be written
	QueueBytesMax int64
	QueueRequests int
	DiskBytes     int64 // taken by the store
	DiskFreeBytes int64
}

// Refusal is how often a reason to turn something away was met.
type Refusal struct {
	Reason string
	Count  int64
	Text   string // what the sender is told to do
}

const (
	samplesMax  = 300 // one a second
	rateSamples = 10  // over which the rate is taken
)

// sample is what happened between two looks at the figures.
type sample struct {
	at            int64 // Unix ms of the second look
	took          time.Duration
	hits, refused int64
	fsync         time.Duration // of the last batch; 0: there was none
	queueBytes    int64
}

// sampler remembers the newest samples.
type sampler struct {
	mu   sync.Mutex
	last Figures
	at   time.Time // of last
	ring []sample
	next int // where the ring goes on, once it is full
}

func (r *sampler) take(f Figures, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() {
		s := sample{at: now.UnixMilli(), took: now.Sub(r.at), hits: f.Hits - r.last.Hits, refused: f.Refused - r.last.Refused, queueBytes: f.QueueBytes}
		if f.Groups > r.last.Groups {
			s.fsync = f.Fsync
		}
		if len(r.ring) < samplesMax {
			r.ring = append(r.ring, s)
		} else {
			r.ring[r.next] = s
			r.next = (r.next + 1) % samplesMax
		}
	}
	r.last, r.at = f, now
}

// samples are copies, oldest first.
func (r *sampler) samples() []sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(slices.Clone(r.ring[r.next:]), r.ring[:r.next]...)
}

// perSecond is the hits a second of the newest samples.
func perSecond(list []sample) float64 {
	var hits int64
	var took time.Duration
	for _, s := range list[max(0, len(list)-rateSamples):] {
		hits += s.hits
		took += s.took
	}
	if took <= 0 {
		return 0
	}
	return float64(hits) / took.Seconds()
}

// fsyncs gives the median of the samples' syncs and the value that one in a
// hundred exceeds; 0 where there was none.
func fsyncs(list []sample) (p50, p99 time.Duration) {
	var all []time.Duration
	for _, s := range list {
		if s.fsync > 0 {
			all = append(all, s.fsync)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	at := func(part float64) time.Duration { return all[int(math.Ceil(part*float64(len(all))))-1] }
	return at(0.50), at(0.99)
}

// sampleFigures looks at the figures until Shutdown.
func (s *Server) sampleFigures() {
	tick := time.NewTicker(s.sampleEvery)
	defer tick.Stop()
	for {
		s.sampler.take(s.opt.Figures(), s.opt.Now())
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
	}
}

// readFigures is the health of the process.
func (c *call) readFigures() error {
	if err := c.onlyQuery(); err != nil {
		return err
	}
	if c.s.opt.Figures == nil {
		return errNotFound
	}
	if c.s.opt.PrivateMetrics && c.who.app != nil {
		return errForbidden
	}
	f := c.s.opt.Figures()
	list := c.s.sampler.samples()
	var w jsonWriter
	w.begin('{')
	w.key("rate")
	w.begin('{')
	writeFloat(&w, "hits_per_second", perSecond(list))
	w.key("samples")
	w.begin('[')
	for _, s := range list {
		w.begin('{')
		w.time("at", s.at)
		w.int("hits", s.hits)
		w.int("refused", s.refused)
		writeMillis(&w, "fsync_ms", s.fsync)
		w.int("queue_bytes", s.queueBytes)
		w.end('}')
	}
	w.end(']')
	w.end('}')
	w.key("queue")
	w.begin('{')
	w.int("bytes", f.QueueBytes)
	w.int("bytes_max", f.QueueBytesMax)
	w.int("requests", int64(f.QueueRequests))
	w.end('}')
	w.key("disk")
	w.begin('{')
	w.int("bytes", f.DiskBytes)
	w.int("free_bytes", f.DiskFreeBytes)
	w.bool("writable", c.store.Writable() == nil)
	w.end('}')
	w.key("refusals")
	w.begin('[')
	for _, r := range f.Refusals {
		w.begin('{')
		w.text("reason", r.Reason)
		w.int("count", r.Count)
		w.text("text", r.Text)
		w.end('}')
	}
	w.end(']')
	w.key("fsync")
	w.begin('{')
	p50, p99 := fsyncs(list)
	writeMillis(&w, "p50_ms", p50)
	writeMillis(&w, "p99_ms", p99)
	w.end('}')
	w.time("started", c.s.started)
	w.textOrNull("version", c.s.opt.Version)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// writeFloat writes at most three decimals.
func writeFloat(w *jsonWriter, name string, v float64) {
	w.key(name)
	w.b = strconv.AppendFloat(w.b, math.Round(v*1000)/1000, 'f', -1, 64)
}

func writeMillis(w *jsonWriter, name string, d time.Duration) {
	writeFloat(w, name, float64(d)/float64(time.Millisecond))
}
