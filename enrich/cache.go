package enrich

import (
	"hash/maphash"
	"sync"
)

// cacheShards spreads the locks, so that cores seldom wait for each other.
const cacheShards = 16

// cache is a bounded map for concurrent use that forgets what was not asked
// for lately. Each shard keeps two generations: once the young one is full it
// becomes the old one, and what is asked for again moves back. That costs one
// short lock and no list per read, where an exact LRU writes on every read.
type cache[K comparable, V any] struct {
	seed   maphash.Seed
	half   int // entries per generation of a shard
	shards [cacheShards]cacheShard[K, V]
}

type cacheShard[K comparable, V any] struct {
	mu         sync.Mutex
	young, old map[K]V
	_          [40]byte // keeps neighbouring locks off one cache line
}

// newCache makes a cache of at most about max entries.
func newCache[K comparable, V any](max int) *cache[K, V] {
	c := &cache[K, V]{seed: maphash.MakeSeed(), half: (max + 2*cacheShards - 1) / (2 * cacheShards)}
	for i := range c.shards {
		c.shards[i].young, c.shards[i].old = make(map[K]V), make(map[K]V)
	}
	return c
}

func (c *cache[K, V]) shard(key K) *cacheShard[K, V] {
	return &c.shards[maphash.Comparable(c.seed, key)%cacheShards]
}

func (c *cache[K, V]) get(key K) (V, bool) {
	s := c.shard(key)
	s.mu.Lock()
	v, ok := s.young[key]
	if !ok {
		if v, ok = s.old[key]; ok {
			s.put(key, v, c.half)
		}
	}
	s.mu.Unlock()
	return v, ok
}

// put keeps key and value; the key must own its memory.
func (c *cache[K, V]) put(key K, v V) {
	s := c.shard(key)
	s.mu.Lock()
	s.put(key, v, c.half)
	s.mu.Unlock()
}

func (s *cacheShard[K, V]) put(key K, v V, half int) {
	if len(s.young) >= half {
		s.young, s.old = s.old, s.young
		clear(s.young)
	}
	s.young[key] = v
}

// len counts entries; one that is in both generations counts twice.
func (c *cache[K, V]) len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.young) + len(s.old)
		s.mu.Unlock()
	}
	return n
}
