package main

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/query"
)

// metrics prints the Stats of all stages as Prometheus text. It is the one
// place that knows that format. No label comes from outside.
type metrics struct {
	registry *prometheus.Registry
	take     *take
	keep     *keep
	produced *kafka.Sink // nil: hits do not go to Kafka
	consumer *consumer   // nil: they do not come from there
	queueMax int64       // bytes
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchTake and watchKeep name what to read from, before serving. A process has
// one half or both.
func (m *metrics) watchTake(t *take) { m.take = t }

func (m *metrics) watchKeep(k *keep) { m.keep = k }

func (m *metrics) write(w io.Writer) error {
	families, err := m.registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// figures reads what the dashboard shows of the process, the most frequent
// refusal first.
func (m *metrics) figures() query.Figures {
	st := m.keep.store.Stats()
	f := query.Figures{
		Hits: st.Hits, Groups: st.Groups, Fsync: time.Duration(st.FsyncSeconds * float64(time.Second)),
		QueueBytes: st.QueueBytes, QueueBytesMax: m.queueMax, QueueRequests: st.QueueRequests,
		DiskBytes: st.DiskBytes, DiskFreeBytes: st.DiskFreeBytes,
	}
	if m.take == nil {
		return f
	}
	in := m.take.collector.Stats()
	for reason, n := range in.Refusals {
		if n += in.HitsRefused[reason]; n > 0 {
			f.Refused += int64(n)
			f.Refusals = append(f.Refusals, query.Refusal{Reason: string(reason), Count: int64(n), Text: ingest.Advice(reason)})
		}
	}
	slices.SortFunc(f.Refusals, func(a, b query.Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return f
}

// Describe sends nothing: the set of reasons is the collector's own.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect reads all Stats.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("spoor_"+name, help, names, nil), kind, value, values...)
	}
	count := func(name, help string, value float64, labels ...string) {
		send(prometheus.CounterValue, name, help, value, labels...)
	}
	gauge := func(name, help string, value float64, labels ...string) {
		send(prometheus.GaugeValue, name, help, value, labels...)
	}
	if m.take != nil {
		m.collectIntake(count, gauge)
		m.collectEnrich(count, gauge)
	}
	if m.keep != nil {
		m.collectStore(count, gauge)
		m.collectRetention(count, gauge)
		m.collectReads(count, gauge)
	}
	m.collectKafka(count, gauge)
}

func (m *metrics) collectReads(count, gauge figure) {
	q := m.keep.answer.Stats()
	count("api_requests_total", "Requests on the read side.", float64(q.Requests))
	count("api_denied_total", "Requests answered 401 or 403.", float64(q.Denied))
	count("api_limited_total", "Requests answered 429.", float64(q.Limited))
	count("api_failed_total", "Requests answered 5xx.", float64(q.Failed))
	count("api_commands_total", "Requests out of the cluster's log that were applied here, also those that were refused.", float64(q.Applied))
	count("api_commands_unknown_total", "Commands in the cluster's log that this version does not know: this node differs from others since.", float64(q.Unknown))
	count("api_forwarded_total", "Requests that another store node answered.", float64(q.Forwarded))
	count("api_accesses_total", "Reads, exports and changes of personal data.", float64(q.Accesses))
	count("audit_missed_total", "Entries of the audit log that could not be stored; each is a line of the log.", float64(q.AuditMissed+m.keep.sweeper.Figures().AuditMissed))
	count("panics_total", "Bugs that were caught.", float64(q.Panics), "side", "read")
	count("app_logins_total", "Sessions that were opened at /app.", float64(q.Logins))
	count("app_logins_failed_total", "Logins at /app that failed, or were one too many.", float64(q.LoginsFailed))
	gauge("app_sessions", "Sessions at /app.", float64(q.Sessions))
	gauge("api_streams", "Exports and tails that are open.", float64(q.Streams))
	gauge("api_connections", "Open connections of the read side.", float64(q.Connections))
}

func (m *metrics) collectRetention(count, gauge figure) {
	f := m.keep.sweeper.Figures()
	count("swept_profiles_total", "Profiles that fell due and were removed.", float64(f.Profiles))
	count("swept_hits_total", "Hits that went with them.", float64(f.Hits))
	count("aged_hits_total", "Hits that were too old and were removed, whosoever they were.", float64(f.Aged))
	count("erased_profiles_total", "Persons that were erased on request.", float64(f.Erased))
	count("sweeps_total", "Sweeps.", float64(f.Runs))
	count("sweeps_failed_total", "Sweeps that failed and are tried again.", float64(f.Failures))
	count("rewritten_partitions_total", "Days of apps that were rewritten to give bytes back.", float64(f.Partitions))
	gauge("reclaim_pending_partitions", "Days of apps that still hold bytes of removed profiles.", float64(f.PendingDays))
	gauge("reclaim_pending_bytes", "Bytes of the records of hits in them, before compression.", float64(f.PendingBytes))
	gauge("reclaim_overdue_partitions", "Days of apps that hold some for longer than was promised; alarm above 0.", float64(f.OverdueDays))
	gauge("reclaim_oldest_seconds", "When the oldest removal was decided whose bytes are still there, Unix time; 0: none.", float64(f.OldestPending)/1000)
	gauge("last_sweep_seconds", "When the last sweep ended, Unix time; 0: none yet.", float64(f.LastRun)/1000)
	stopped := 0.0
	if f.Stopped {
		stopped = 1
	}
	gauge("sweeping_stopped", "1: the clock departed from the monotonic one, nothing is swept until a restart.", stopped)
	n := m.keep.notifier.Figures()
	count("notices_sent_total", "Notices that a webhook took.", float64(n.Sent))
	count("notices_failed_total", "Attempts that a webhook did not take; they are repeated.", float64(n.Failed))
	count("notices_given_up_total", "Notices that no webhook took in three days.", float64(n.GivenUp))
	collectOutlet(count, gauge, "webhook", m.keep.outlet.Figures())
	collectOutlet(count, gauge, "topic", m.keep.outlet.TopicFigures())
}

// collectOutlet reads what goes to webhooks or topics.
func collectOutlet(count, gauge figure, where string, o query.OutletFigures) {
	count("feed_"+where+"_entries_total", "Entries of feeds that a "+where+" took.", float64(o.Entries))
	count("feed_"+where+"_failed_total", "Requests with entries that a "+where+" did not take.", float64(o.Failed))
	count("feed_"+where+"_dead_total", "Dead letters: stretches of a feed that a "+where+" refused.", float64(o.Dead))
	count("feed_"+where+"_lost_total", "Stretches of a feed that became too old before a "+where+" took them; alarm on any.", float64(o.Lost))
	gauge("feed_"+where+"_down", "Apps whose "+where+" did not take the last request.", float64(o.Down))
}

// figure sends one value with label names and values in turn.
type figure func(name, help string, value float64, labels ...string)

func (m *metrics) collectIntake(count, gauge figure) {
	s := m.take.collector.Stats()
	count("requests_total", "Requests on the collector.", float64(s.Requests))
	count("received_bytes_total", "Bytes that the collector read from the network.", float64(s.BytesIn))
	count("panics_total", "Bugs that were caught.", float64(s.Panics), "side", "collector")
	gauge("connections", "Open connections of the collector.", float64(s.Connections))
	gauge("bodies_bytes", "Bytes of request bodies being worked on.", float64(s.InFlight))
	m.collectTLS(s, count, gauge)
	for outcome, n := range s.Hits {
		count("hits_total", "Hits by what became of them.", float64(n), "outcome", outcome.String())
	}
	for reason, n := range s.HitsRefused {
		count("hits_refused_total", "Single hits refused, by reason.", float64(n), "reason", string(reason))
	}
	for reason, n := range s.Refusals {
		count("refused_total", "Requests and connections refused, by reason.", float64(n), "reason", string(reason))
	}
	count("junk_ids_total", "Ids such as null that were treated as absent.", float64(s.JunkIDs))
	count("texts_cut_total", "Texts that were shortened.", float64(s.TextsCut))
}

func (m *metrics) collectTLS(s ingest.Stats, count, gauge figure) {
	if m.take.keeper == nil {
		return
	}
	count("connections_made_room_total", "Idle connections that were closed for new ones, at the limit.", float64(s.MadeRoom))
	count("tls_handshakes_total", "TLS handshakes that were done.", float64(s.Handshakes))
	count("tls_handshakes_failed_total", "TLS handshakes that failed, or were not done in time.", float64(s.HandshakesFailed))
	k := m.take.keeper.Stats()
	ends, failing := 0.0, 0.0
	if !k.Ends.IsZero() {
		ends = float64(k.Ends.Unix())
	}
	if k.Failing {
		failing = 1
	}
	gauge("tls_certificate_expires_seconds", "When the certificate that ends first ends, Unix time; 0: there is none yet.", ends)
	gauge("tls_certificate_failing", "1 while changed files are not used, or no certificate can be had.", failing)
}

func (m *metrics) collectEnrich(count, gauge figure) {
	s := m.take.enricher.Stats()
	count("bots_total", "Hits marked as made by bots.", float64(s.Bots))
	count("redactions_total", "Values that looked like addresses or secrets and were removed.", float64(s.Redactions))
	count("geo_lookups_total", "Addresses looked up.", float64(s.GeoLookups))
	count("geo_misses_total", "Addresses without a place.", float64(s.GeoMisses))
	count("agent_panics_total", "User agents on which a parser failed.", float64(s.AgentPanics))
	failed := 0.0
	if s.GeoReloadFailed {
		failed = 1
	}
	gauge("geo_reload_failed", "1 while the newest GeoIP file is unusable and the one before it answers.", failed)
	gauge("geo_built_seconds", "When the GeoIP database was built, Unix time.", float64(s.GeoBuilt.Unix()))
}

func (m *metrics) collectStore(count, gauge figure) {
	s := m.keep.store.Stats()
	count("stored_total", "Hits on disk since the start.", float64(s.Hits))
	count("groups_total", "Batches written; each is one fsync at most.", float64(s.Groups))
	gauge("fsync_wait_seconds", "How long the last batch waited for its fsync.", s.FsyncSeconds)
	gauge("queue_bytes", "Bytes of hits that wait to be written.", float64(s.QueueBytes))
	gauge("queue_requests", "Requests that wait to be written.", float64(s.QueueRequests))
	gauge("disk_free_bytes", "Free space where the data is; 0 if unknown.", float64(s.DiskFreeBytes))
	gauge("disk_bytes", "Bytes that the store takes.", float64(s.DiskBytes))
	count("flushed_bytes_total", "Bytes of tables that were written from memory since the start.", float64(s.FlushedBytes))
	count("compacted_bytes_total", "Bytes of tables that were written again by compactions since the start.", float64(s.CompactedBytes))
	gauge("recovered_with_loss_hits", "Acknowledged hits that were missing at the last start.", float64(s.LostHits))
	count("corruptions_total", "Damaged blocks that were met.", float64(s.Corruptions))
	count("write_stalls_total", "Times that writing waited for compactions.", float64(s.WriteStalls))
	count("attributes_dropped_total", "Attribute values that did not fit or were too many.", float64(s.DroppedAttributes))
	count("tail_dropped_total", "Hits not shown to slow watchers.", float64(s.TailDropped))
	writable := 1.0
	if m.keep.store.Writable() != nil {
		writable = 0
	}
	gauge("writable", "1 if the store can write.", writable)
}

// collectKafka reads what goes to Kafka, and what comes from there.
func (m *metrics) collectKafka(count, gauge figure) {
	if m.produced != nil {
		f := m.produced.Figures()
		count("kafka_produced_hits_total", "Hits that all in-sync replicas have acknowledged.", float64(f.Hits))
		count("kafka_produced_records_total", "Records that held them.", float64(f.Records))
		count("kafka_produced_bytes_total", "Bytes of those records, before compression.", float64(f.Bytes))
		count("kafka_requests_total", "Requests to the brokers that were acknowledged.", float64(f.Requests))
		count("kafka_retries_total", "Requests to the brokers that failed and were sent again.", float64(f.Retries))
		count("kafka_busy_total", "Writes that were refused: too much waited, or no acknowledgement came in time.", float64(f.Busy))
		count("kafka_too_large_total", "Hits that no record can hold.", float64(f.Refused))
		gauge("kafka_waiting_bytes", "Bytes that wait for the brokers' acknowledgement.", float64(f.Waiting))
	}
	if m.consumer == nil {
		return
	}
	sum := m.consumer.counts()
	count("kafka_consumed_total", "Hits of the topic by what became of them.", float64(sum.stored), "outcome", spoor.Stored.String())
	count("kafka_consumed_total", "Hits of the topic by what became of them.", float64(sum.duplicates), "outcome", spoor.Duplicate.String())
	for reason, n := range sum.refused {
		count("kafka_consumed_refused_total", "Hits of the topic that the store refused, by reason.", float64(n), "reason", string(reason))
	}
	all, err := m.consumer.cluster()
	if err != nil {
		return
	}
	for _, p := range all.Read {
		reading, number := 0.0, strconv.Itoa(p.Number)
		if p.Reading {
			reading = 1
		}
		gauge("kafka_stored_offset", "First record of a partition that is not stored.", float64(p.Stored), "partition", number)
		gauge("kafka_lag_records", "Records of a partition that wait to be stored, as of a moment ago.", float64(p.End-p.Stored), "partition", number)
		gauge("kafka_reading", "0: a partition cannot be read; the log says why.", reading, "partition", number)
		count("kafka_missed_records_total", "Records that the topic dropped before they were read; alarm above 0.", float64(p.Missed), "partition", number)
		count("kafka_poisoned_records_total", "Records that could not be read; spoor cluster --poisoned lists them.", float64(p.Poisoned), "partition", number)
	}
}
