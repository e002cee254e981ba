package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/spoorhq/spoor"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Goal: a topic that is made has settings under which nothing acknowledged is
// lost soon, and two programs that start at once agree on it.
// Method: several Opens at the same time on brokers without topics; then what
// the brokers show.
func TestTopicsMade(t *testing.T) {
	c := anyCluster(t)
	o := c.options(t)
	o.Partitions, o.Retention = 0, 3*time.Hour
	opened := make(chan *Topic, 3)
	for range cap(opened) {
		go func() {
			topic, err := Open(t.Context(), o)
			if err != nil {
				t.Error(err)
			}
			opened <- topic
		}()
	}
	for range cap(opened) {
		if topic := <-opened; topic == nil || topic.Partitions() != partitionsNew {
			t.Fatalf("opened %+v", topic)
		} else {
			defer topic.Close()
		}
	}
	topic := openTopic(t, o)
	hits, err := topic.brokers.describe(t.Context(), o.Topic)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cleanup.policy": "delete", "retention.ms": "10800000", "max.message.bytes": "1004096"} {
		if hits.settings[name] != want {
			t.Errorf("%s is %q, want %q", name, hits.settings[name], want)
		}
	}
	if replicas := min(3, hits.brokers); hits.replicas != replicas || replicas == 3 && hits.settings["min.insync.replicas"] != "2" {
		t.Errorf("of %d brokers %d have each partition, and %s must be in sync", hits.brokers, hits.replicas, hits.settings["min.insync.replicas"])
	}
	apps, err := topic.brokers.describe(t.Context(), o.apps())
	if err != nil || apps.partitions != 1 || apps.settings["cleanup.policy"] != "compact" {
		t.Errorf("the topic of apps is %+v (%v)", apps, err)
	}
	used := map[int]int{}
	for app := spoor.AppID(1); app <= 16; app++ {
		used[topic.PartitionOf(app)]++
	}
	if len(used) != 8 || used[0] != 2 || topic.PartitionOf(1) != 0 || topic.PartitionOf(9) != 0 || topic.PartitionOf(8) != 7 {
		t.Errorf("apps are spread as %v", used)
	}
}

// Goal: a topic in which hits would be lost, or be sought in the wrong
// partition, is refused with the setting and the remedy.
// Method: topics made with one wrong setting each.
func TestTopicsRefused(t *testing.T) {
	c := anyCluster(t)
	cases := []struct {
		name       string
		hits, apps map[string]string
		partitions int
		words      []string // none: it is taken
	}{
		{name: "as it should be", partitions: 4},
		{name: "partitions", partitions: 3, words: []string{"has 3 partitions", "4 are asked for"}},
		{name: "compacted", partitions: 4, hits: map[string]string{"cleanup.policy": "compact"}, words: []string{"cleanup.policy=compact", "add-config cleanup.policy=delete"}},
		{name: "small", partitions: 4, hits: map[string]string{"max.message.bytes": "1000"}, words: []string{"max.message.bytes=1000", "add-config max.message.bytes=1004096"}},
		{name: "out of sync", partitions: 4, hits: map[string]string{"min.insync.replicas": "9"}, words: []string{"min.insync.replicas=9", "nothing could be written"}},
		{name: "apps that expire", partitions: 4, apps: map[string]string{"cleanup.policy": "delete"}, words: []string{".apps", "add-config cleanup.policy=compact"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			o := c.options(t)
			b := newSegmentio(c.addresses, nil, nil, nil)
			defer b.close()
			if test.apps == nil {
				test.apps = map[string]string{"cleanup.policy": "compact"}
			}
			create(t, b, o.Topic, &layout{partitions: test.partitions, replicas: 1, settings: test.hits})
			create(t, b, o.apps(), &layout{partitions: 1, replicas: 1, settings: test.apps})
			defer b.client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{o.Topic, o.apps()}})
			topic, err := Open(t.Context(), o)
			if len(test.words) > 0 {
				oneLine(t, err, append(test.words, o.Topic)...)
			} else if err != nil {
				t.Error(err)
			} else {
				topic.Close()
			}
		})
	}
}

func create(t *testing.T, b *segmentio, topic string, l *layout) {
	t.Helper()
	if err := b.create(t.Context(), topic, l); err != nil {
		t.Fatal(err)
	}
}

// Goal: options that cannot work are refused before anything is dialled.
// Method: each of them wrong alone.
func TestOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"no broker":           func(o *Options) { o.Brokers = nil },
		"host:9092":           func(o *Options) { o.Brokers = []string{"localhost"} },
		"topic":               func(o *Options) { o.Topic = "a b" },
		"partitions":          func(o *Options) { o.Partitions = -1 },
		"retention":           func(o *Options) { o.Retention = time.Second },
		"RecordBytesMax":      func(o *Options) { o.RecordBytesMax = 10 },
		"BytesMax":            func(o *Options) { o.BytesMax = 10 },
		"not known":           func(o *Options) { o.Mechanism, o.User, o.Password = "GSSAPI", "u", "p" },
		"SPOOR_KAFKA_USER":    func(o *Options) { o.Mechanism = "PLAIN" },
		"without a mechanism": func(o *Options) { o.User, o.Password = "u", "p" },
	} {
		o := Options{Brokers: []string{"192.0.2.1:9092"}}
		change(&o)
		_, err := Open(t.Context(), o)
		oneLine(t, err, want)
		if err != nil && strings.Contains(err.Error(), "192.0.2.1") {
			t.Errorf("%s: the broker was dialled", want)
		}
	}
}

// Goal: brokers that cannot be reached, trusted or entered are told apart, each
// in one line with what to do; with the right papers all goes through.
// Method: brokers with TLS and users; each client lacks one thing. No error may
// hold the password.
func TestSecure(t *testing.T) {
	served, pool := certificate(t)
	_, strangers := certificate(t)
	clear := fakeCluster(t)
	sealed := fakeCluster(t, kfake.TLS(served))
	users := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", "right"), kfake.Superuser("SCRAM-SHA-256", "bob", "right"), kfake.Superuser("SCRAM-SHA-512", "cy", "right")}
	guarded := fakeCluster(t, users...)
	rights := fakeCluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "ann", "right"), kfake.User("PLAIN", "dan", "right"))
	both := fakeCluster(t, append(users, kfake.TLS(served))...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()

	login := func(mechanism, user, password string) func(*Options) {
		return func(o *Options) { o.Mechanism, o.User, o.Password = mechanism, user, password }
	}
	trust := func(roots *x509.CertPool) func(*Options) {
		return func(o *Options) { o.TLS = &tls.Config{RootCAs: roots} }
	}
	cases := []struct {
		name  string
		c     *cluster
		with  []func(*Options)
		words []string // none: it goes through
	}{
		{"clear", clear, nil, nil},
		{"TLS", sealed, []func(*Options){trust(pool)}, nil},
		{"PLAIN", guarded, []func(*Options){login("PLAIN", "ann", "right")}, nil},
		{"SCRAM-SHA-256", guarded, []func(*Options){login("scram-sha-256", "bob", "right")}, nil},
		{"TLS and SCRAM-SHA-512", both, []func(*Options){trust(pool), login("SCRAM-SHA-512", "cy", "right")}, nil},
		{"unknown CA", sealed, []func(*Options){trust(strangers)}, []string{"no authority", "--kafka-ca"}},
		{"another name", sealed, []func(*Options){func(o *Options) { o.TLS = &tls.Config{RootCAs: pool, ServerName: "other.example"} }}, []string{"other.example"}},
		{"TLS to clear", clear, []func(*Options){trust(pool)}, []string{"--kafka-tls"}},
		{"clear to TLS", sealed, nil, []string{"--kafka-tls"}},
		{"wrong PLAIN", guarded, []func(*Options){login("PLAIN", "ann", "WRONG")}, []string{"ann", "SPOOR_KAFKA_PASSWORD"}},
		{"wrong SCRAM", guarded, []func(*Options){login("SCRAM-SHA-256", "bob", "WRONG")}, []string{"bob", "SPOOR_KAFKA_PASSWORD"}},
		{"unknown user", guarded, []func(*Options){login("SCRAM-SHA-512", "eve", "WRONG")}, []string{"eve", "SPOOR_KAFKA_PASSWORD"}},
		{"no user", guarded, nil, []string{"--kafka-login"}},
		{"no rights", rights, []func(*Options){login("PLAIN", "dan", "right")}, []string{"dan", "do not allow", "KAFKA.md"}},
		{"nobody there", &cluster{addresses: []string{nobody}}, nil, []string{"cannot reach", nobody, "refused"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := test.c.options(t)
			for _, change := range test.with {
				change(&o)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			topic, err := Open(ctx, o)
			if len(test.words) > 0 {
				oneLine(t, err, test.words...)
				if err != nil && strings.Contains(err.Error(), "WRONG") {
					t.Errorf("the error holds the password: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer topic.Close()
			s := openSink(t, topic)
			if err := s.Write([]spoor.Hit{{App: 1, ID: "a"}}); err != nil {
				t.Fatal(err)
			}
			r := newReader(topic, newLedger())
			r.drainPartition(t, 0)
			if len(r.hits) != 1 {
				t.Errorf("%d hits came through", len(r.hits))
			}
		})
	}
}

// certificate makes one for the brokers of this process, signed by itself.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plan := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "brokers of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, plan, plan, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}
