package ingest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
)

// saltLife is how long a day's salt is kept. A day lasts 50 hours from its first
// moment at UTC+14 to its last at UTC-12; a zone so far west gets a new salt for
// its last hours.
const saltLife = 48 * time.Hour

// salts make the numbers of cookieless visitors: a keyed hash of address and
// user agent, whose key is random, new for every day and deleted for good
// after saltLife. From then on nobody can tell whose number it was, nor
// compute it again.
type salts struct {
	path    string // of the file; empty: memory only
	now     func() time.Time
	share   func(day spoor.Day, made int64, salt []byte) (int64, []byte, error) // see Options
	mu      sync.Mutex                                                          // held while the list changes
	current atomic.Pointer[[]salt]
	timer   *time.Timer
}

// salt is one day's.
type salt struct {
	Day  spoor.Day `json:"day"`
	Made int64     `json:"made"` // Unix milliseconds
	Key  []byte    `json:"key"`
}

func (s *salt) live(now int64) bool {
	return now-s.Made < saltLife.Milliseconds() && now >= s.Made-saltLife.Milliseconds()
}

// openSalts reads the salts that are still in use and deletes the others.
func openSalts(path string, now func() time.Time, share func(spoor.Day, int64, []byte) (int64, []byte, error)) (*salts, error) {
	s := &salts{path: path, now: now, share: share}
	s.current.Store(new([]salt))
	if path == "" {
		return s, nil
	}
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("cannot read the salts of cookieless visitors: %w", err)
	default:
		var list []salt
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("cannot read the salts of cookieless visitors in %s: %w; delete the file, and visitors of today count once more", path, err)
		}
		s.current.Store(&list)
	}
	if err := s.expire(); err != nil {
		return nil, err
	}
	return s, nil
}

// watch deletes salts when their time has come, also while nothing is sent.
// What comes due while no server runs goes when the next one starts.
func (s *salts) watch(failed func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(s.pause(), func() {
		if err := s.expire(); err != nil {
			failed(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.timer.Reset(s.pause())
	})
}

// pause is how long it takes until the next salt is too old, a minute at most:
// clocks are changed, and salts are made meanwhile.
func (s *salts) pause() time.Duration {
	wait, now := time.Minute, s.now().UnixMilli()
	for _, one := range *s.current.Load() {
		wait = min(wait, time.Duration(one.Made-now)*time.Millisecond+saltLife)
	}
	return max(wait, time.Millisecond)
}

func (s *salts) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}

// number is the profile key of a cookieless visitor on a day; see
// spoor.DailyKey. Of an IPv6 address the network of one customer counts,
// because devices change the rest within a day.
func (s *salts) number(app spoor.AppID, day spoor.Day, ip netip.Addr, agent string) (string, error) {
	key, err := s.of(day)
	if err != nil {
		return "", err
	}
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			ip = network.Addr()
		}
	}
	mac := hmac.New(sha256.New, key)
	var b [4 + 16]byte
	binary.BigEndian.PutUint32(b[:], uint32(app))
	if ip.IsValid() {
		full := ip.As16()
		copy(b[4:], full[:])
	}
	mac.Write(b[:])
	mac.Write([]byte(agent))
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return spoor.NewDailyKey(sum[:]), nil
}

// of is the salt of a day, made if there is none. It is on disk before it is
// used, or a restart would count everybody twice.
func (s *salts) of(day spoor.Day) ([]byte, error) {
	now := s.now().UnixMilli()
	find := func() []byte {
		for _, one := range *s.current.Load() {
			if one.Day == day && one.live(now) {
				return one.Key
			}
		}
		return nil
	}
	if key := find(); key != nil {
		return key, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := find(); key != nil {
		return key, nil
	}
	made := salt{Day: day, Made: now, Key: make([]byte, sha256.Size)}
	if _, err := rand.Read(made.Key); err != nil {
		return nil, fmt.Errorf("cannot make a salt for cookieless visitors: %w", err)
	}
	if s.share != nil {
		var err error
		if made.Made, made.Key, err = s.share(day, made.Made, made.Key); err != nil {
			return nil, fmt.Errorf("cannot agree on a salt for cookieless visitors with the other collectors: %w", err)
		}
		if len(made.Key) != sha256.Size || !made.live(now) {
			return nil, errors.New("cannot use the salt of the other collectors: it is too old or has a wrong length; compare the clocks")
		}
	}
	list := []salt{made}
	for _, one := range *s.current.Load() {
		if one.live(now) && one.Day != day {
			list = append(list, one)
		}
	}
	return made.Key, s.keep(list)
}

// expire deletes what is too old.
func (s *salts) expire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().UnixMilli()
	list, all := []salt{}, *s.current.Load()
	for _, one := range all {
		if one.live(now) {
			list = append(list, one)
		}
	}
	if len(list) == len(all) {
		return nil
	}
	return s.keep(list)
}

func (s *salts) keep(list []salt) error {
	if s.path != "" {
		if err := writeWhole(s.path, list); err != nil {
			return fmt.Errorf("cannot keep the salts of cookieless visitors: %w", err)
		}
	}
	s.current.Store(&list)
	return nil
}

// writeWhole replaces a file, so that a crash leaves the old one or the new.
func writeWhole(path string, list []salt) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".salts-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// mint is the key that a page load gets: the same for all requests of it, so
// that those that are under way together agree. An id of an event is the page
// load's random part, a dash, and a counter.
func mint(app spoor.AppID, load string) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(app))
	sum := sha256.Sum256(append(b[:], load...))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:8]))[:keyLetters]
}
