package spoor

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CollectionKind says what a collection of people is.
type CollectionKind uint8

// The kinds. They are stored: append, never renumber.
const (
	CollectionNone    CollectionKind = iota
	CollectionTag                    // a word on people; names are unique
	CollectionList                   // people put in by hand
	CollectionSegment                // a saved filter: who is in it is computed when asked for
)

var collectionNames = [...]string{"none", "tag", "list", "segment"}

// String gives the word used on the wire, such as "tag".
func (k CollectionKind) String() string {
	if int(k) < len(collectionNames) {
		return collectionNames[k]
	}
	return "unknown"
}

// Collection is a tag, a list or a segment of an app. Its ID counts from 1 for
// each kind and is never used again; its name may change.
type Collection struct {
	Kind        CollectionKind
	ID          uint32
	Name        string
	Description string
	Created     int64   // Unix ms
	Filter      *Filter // of a segment
	Watched     bool    // of a segment: the app's feed tells who enters and leaves it
	Size        int64   // profiles in it when it was read; -1: not counted
}

// The limits of collections.
const (
	TagsMax     = 10_000 // of one app
	ListsMax    = 10_000
	SegmentsMax = 1000
	WatchedMax  = 20 // segments of one app that are watched
	// MembershipsMax is how many different tags, and how many lists, one profile
	// may ever have been given.
	MembershipsMax = 1000

	collectionNameMax        = 255 // bytes
	collectionDescriptionMax = 4096
)

// ErrNoCollection says that there is no tag, list or segment with this id.
var ErrNoCollection = errors.New("there is no such tag, list or segment")

// CollectionError refuses a change of a collection, or of who is in it.
type CollectionError struct {
	Field string // of the collection: name, description, filter or watched
	What  string // one line
}

// Error gives the line.
func (e *CollectionError) Error() string { return e.What }

// CollectionName is a name as it is stored, without blanks around it. Error:
// *CollectionError.
func CollectionName(name string) (string, error) {
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		return "", &CollectionError{"name", "The name is empty; give 1 to 255 bytes."}
	case len(name) > collectionNameMax:
		return "", &CollectionError{"name", "The name is longer than 255 bytes."}
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "", &CollectionError{"name", "The name holds control characters, or is not UTF-8."}
	}
	return name, nil
}

// Check trims the name and verifies the rest. Error: *CollectionError.
func (c *Collection) Check() (err error) {
	if c.Name, err = CollectionName(c.Name); err != nil {
		return err
	}
	if len(c.Description) > collectionDescriptionMax || !utf8.ValidString(c.Description) || strings.ContainsRune(c.Description, 0) {
		return &CollectionError{"description", "The description is longer than 4096 bytes, or is not plain UTF-8."}
	}
	if c.Kind == CollectionSegment && c.Filter == nil {
		return &CollectionError{"filter", "A segment needs a filter."}
	}
	return nil
}

// Size is how many people were in a segment at the beginning of a day.
type Size struct {
	Day   Day
	Count int64
}
