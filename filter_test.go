package spoor

import (
	"fmt"
	"strings"
	"testing"
)

// Goal: every form of a filter is read and written back the same.
// Method: a table of filters in the form that JSON gives; keys sorted.
func TestFilterRoundTrip(t *testing.T) {
	for _, text := range []string{
		`{"attribute":"country","is":"PL"}`,
		`{"attribute":"score","more_or_equal":1.5}`,
		`{"attribute":"email","exists":false}`,
		`{"attribute":"paid","not":true}`,
		`{"attribute":"known","is":true}`,
		`{"attribute":"last_seen","less":"2026-11-22"}`,
		`{"tag":"vip"}`, `{"list":3}`, `{"segment":4}`,
		`{"event":"signup"}`, `{"event":"signup","times":2}`, `{"event":"a*","times":0}`,
		`{"at_most":0,"event":"signup"}`, `{"at_most":3,"days":30,"path":"/pricing","times":2}`,
		`{"property":{"is":"pro","name":"plan"},"screen":"Home"}`, `{"event":"e","property":{"is":7,"name":"n"}}`,
		`{"active":{"days":7}}`, `{"idle":{"days":30}}`,
		`{"all":[{"tag":"a"},{"any":[{"not":{"tag":"b"}},{"idle":{"days":1}}]}]}`,
	} {
		f, err := ParseFilter([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := string(f.JSON()); got != text {
			t.Errorf("%s is written as %s", text, got)
		}
	}
}

// Goal: what is no filter is refused with one line that says what may stand there.
// Method: a table of mistakes, and filters that are too large in each way.
func TestFilterRefusals(t *testing.T) {
	nested := func(levels int) string {
		return strings.Repeat(`{"not":`, levels) + `{"tag":"a"}` + strings.Repeat("}", levels)
	}
	wide := func(n int) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(`{"list":%d}`, i+1)
		}
		return `{"any":[` + strings.Join(parts, ",") + `]}`
	}
	if _, err := ParseFilter([]byte(nested(FilterDepthMax))); err != nil {
		t.Errorf("%d levels: %v", FilterDepthMax, err)
	}
	if _, err := ParseFilter([]byte(wide(FilterConditionsMax))); err != nil {
		t.Errorf("%d conditions: %v", FilterConditionsMax, err)
	}
	for text, want := range map[string]string{
		``: "no JSON object", `[]`: "no JSON object", `null`: "no JSON object", `{`: "no JSON object", `{"all":[1]}`: "no JSON object",
		`{}`: "has none of all, any, not", `{"colour":"red"}`: "has none of all, any, not",
		`{"all":[]}`: "at least one", `{"any":{}}`: "at least one",
		`{"tag":"a","list":1}`: `"list" is not known beside "tag"`, `{"event":"e","tims":2}`: `"tims" is not known`,
		`{"tag":""}`: "a text of 1 to", `{"tag":5}`: "a text of 1 to", `{"list":0}`: "whole number from 1", `{"segment":1.5}`: "whole number",
		`{"attribute":"a"}`: "one operator", `{"attribute":"a","is":1,"less":2}`: "one operator", `{"attribute":"a","equals":1}`: "no operator",
		`{"attribute":"a","is":null}`: "wants a text", `{"attribute":"a","is":[1]}`: "wants a text", `{"attribute":"a","exists":1}`: "true or false",
		`{"attribute":"score","less":"x"}`: "is a number", `{"attribute":"first_seen","more":"soon"}`: "is a time", `{"attribute":"paid","contains":""}`: "not empty",
		`{"attribute":"unsubscribed","less":1}`: "no order", `{"attribute":"known","contains":"t"}`: "is or not",
		`{"event":"e","times":-1}`: "from 0", `{"event":"e","times":2,"at_most":1}`: "nobody", `{"event":"e","days":5000}`: "from 1 to 1100",
		`{"event":"e","property":{"name":"n"}}`: `"is" is missing`, `{"event":"e","property":[]}`: "wants", `{"active":7}`: `{"days":N}`, `{"idle":{}}`: `{"days":N}`,
		nested(FilterDepthMax + 1): "deeper", wide(FilterConditionsMax + 1): "more than 32", wide(5000): "more than 32",
		"{\"tag\":\"\xff\"}": "UTF-8",
	} {
		_, err := ParseFilter([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80s: %v, want %s", text, err, want)
		}
	}
}

// FuzzFilter: whatever is read is written so that it is read the same.
func FuzzFilter(f *testing.F) {
	f.Add([]byte(`{"all":[{"tag":"a"},{"event":"e","at_most":3,"property":{"name":"n","is":1e3}}]}`))
	f.Add([]byte(`{"not":{"not":{"idle":{"days":"7"}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		one, err := ParseFilter(text)
		if err != nil {
			return
		}
		again, err := ParseFilter(one.JSON())
		if err != nil || string(again.JSON()) != string(one.JSON()) {
			t.Errorf("%s is written as %s: %v", text, one.JSON(), err)
		}
	})
}
