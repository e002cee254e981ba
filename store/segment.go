package store

import (
	"fmt"
	"slices"

	"github.com/spoorhq/spoor"
)

// segmentDepthMax is how many segments may stand in each other.
const segmentDepthMax = 4

// segments lists the segments that a filter names.
func segmentsIn(f *spoor.Filter) (ids []uint32) {
	f.Walk(func(f *spoor.Filter) {
		if f.Op == spoor.FilterSegment && !slices.Contains(ids, f.ID) {
			ids = append(ids, f.ID)
		}
	})
	return ids
}

// checkSegment refuses filters that name a segment that there is not, or that
// lead back to where they began.
func (c *catalogue) checkSegment(x *spoor.Collection) error {
	refuse := func(format string, args ...any) error {
		return &spoor.CollectionError{Field: "filter", What: fmt.Sprintf(format, args...)}
	}
	filter := func(id uint32) *spoor.Filter {
		if id == x.ID {
			return x.Filter
		}
		if of := c.byID[collectionRef{spoor.CollectionSegment, id}]; of != nil {
			return of.Filter
		}
		return nil
	}
	for _, id := range segmentsIn(x.Filter) {
		if id == 0 || filter(id) == nil {
			return refuse("There is no segment %d.", id)
		}
	}
	// Whatever names x, directly or not, gets deeper with it, so all are looked at.
	depths := map[uint32]int{}
	var depth func(id uint32) (int, error)
	depth = func(id uint32) (int, error) {
		if d, ok := depths[id]; ok {
			if d == 0 {
				return 0, refuse("The segment would lead back to itself, by segment %d.", id)
			}
			return d, nil
		}
		depths[id] = 0 // on the way
		deepest := 0
		if f := filter(id); f != nil {
			for _, in := range segmentsIn(f) {
				d, err := depth(in)
				if err != nil {
					return 0, err
				}
				deepest = max(deepest, d)
			}
		}
		depths[id] = deepest + 1
		if deepest >= segmentDepthMax {
			return 0, refuse("More than %d segments would stand in each other.", segmentDepthMax)
		}
		return deepest + 1, nil
	}
	for at := range c.byID {
		if at.kind == spoor.CollectionSegment {
			if _, err := depth(at.id); err != nil {
				return err
			}
		}
	}
	_, err := depth(x.ID)
	return err
}

// named refuses to delete a segment that another one names.
func (c *catalogue) named(id uint32) error {
	for at, x := range c.byID {
		if at.kind == spoor.CollectionSegment && at.id != id && slices.Contains(segmentsIn(x.Filter), id) {
			return &spoor.CollectionError{Field: "id", What: fmt.Sprintf("Segment %d names it; change or delete that first.", at.id)}
		}
	}
	return nil
}

// renameInFilters lets the filters that name a tag follow it.
func (g *group) renameInFilters(a *appState, c *catalogue, from, to string) {
	for at, x := range c.byID {
		if at.kind != spoor.CollectionSegment {
			continue
		}
		if f, changed := x.Filter.RenameTag(from, to); changed {
			renamed := *x
			renamed.Filter = f
			g.storeCollection(a, c, &renamed)
		}
	}
}
