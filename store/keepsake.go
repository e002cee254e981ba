package store

import (
	"container/list"
	"sync"
)

// keepsake remembers what was made of days that do not change any more. When
// there is too much of it, what was not asked for the longest is forgotten.
type keepsake[K comparable, V any] struct {
	size  func(K, V) uint64
	most  uint64 // bytes
	mu    sync.Mutex
	kept  map[K]*list.Element
	order list.List // of *keptOne[K, V]; what was asked for last is in front
	bytes uint64
}

type keptOne[K comparable, V any] struct {
	key   K
	value V
	bytes uint64
}

func newKeepsake[K comparable, V any](most uint64, size func(K, V) uint64) *keepsake[K, V] {
	return &keepsake[K, V]{size: size, most: most, kept: map[K]*list.Element{}}
}

func (c *keepsake[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[k]
	if e == nil {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*keptOne[K, V]).value, true
}

// add remembers a value, in place of any other of the same key.
func (c *keepsake[K, V]) add(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.kept[k]; e != nil {
		c.forget(e)
	}
	one := &keptOne[K, V]{k, v, c.size(k, v)}
	c.kept[k] = c.order.PushFront(one)
	c.bytes += one.bytes
	for c.bytes > c.most {
		c.forget(c.order.Back())
	}
}

func (c *keepsake[K, V]) forget(e *list.Element) {
	one := c.order.Remove(e).(*keptOne[K, V])
	delete(c.kept, one.key)
	c.bytes -= one.bytes
}
