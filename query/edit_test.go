package query

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

func TestCreateAndUpdate(t *testing.T) {
	ts := newTestServer(t)
	var id float64
	f := func(method, path, body string, status int, contains ...string) reply {
		t.Helper()
		r := ts.do(method, path, "shop-write", body)
		if r.status != status {
			t.Errorf("%s %s %s: %d %s, want %d", method, path, body, r.status, r.body, status)
		}
		for _, part := range contains {
			if !strings.Contains(r.body, part) {
				t.Errorf("%s %s %s: %s is not in %s", method, path, body, part, r.body)
			}
		}
		return r
	}
	const users = "/api/public/users/"
	r := f("POST", users, `{"email":"specs@example.com","gender":2}`, 201, `"email":"specs@example.com"`, `"gender":"male"`, `"status":"visitor"`, `"name":"specs@example.com"`)
	var u map[string]any
	json.Unmarshal([]byte(r.body), &u)
	id = u["id"].(float64)
	one := fmt.Sprintf("%s%d/", users, int64(id))
	f("PUT", one, `{"user_id":"u1","status":2,"score":"7","country":"germany","first_seen":"2020-01-01T00:00:00Z","born":"0001-01-01T00:00:00Z"}`, 200,
		`"user_id":"u1"`, `"status":"user"`, `"score":7`, `"country":"Germany"`, `"first_seen":null`, `"attributes":[]`)
	r = f("PATCH", users+"u1", `{"phone_number":"+48 600","lists":["a"],"unsubscribed":"True"}`, 200, `"phone_number":"+48 600"`, `"unsubscribed":true`, `"email":"specs@example.com"`)
	if r.header.Get("X-Spoor-Ignored") != "lists" {
		t.Errorf("ignored %q", r.header.Get("X-Spoor-Ignored"))
	}
	f("PUT", "/api/public/users-by-id/u1/", `{"email":""}`, 200, `"email":null`)
	f("POST", users, `{"user_id":"u1"}`, 400, `{"errors":{"user_id":["Another user has this id."]}}`)
	f("POST", users, `{"user_id":"u2"}`, 201)
	f("PUT", one, `{"user_id":"u2"}`, 400, "Another user")
	f("PUT", users+"u9/", `{}`, 404)
	f("POST", users+"update_or_create/", `{"user_id":"u1","plan":"gold"}`, 200, `{"created":false,"id":`)
	f("POST", users+"update_or_create/", `{"user_id":"u3"}`, 200, `{"created":true,"id":`)
	f("POST", users+"update_or_create/", `{}`, 400, `{"errors":{"user_id":["This field is required."]}}`)

	// Attributes one by one.
	f("POST", one+"set_attribute/", `{"attribute":"since","value":"2026-03-04T05:06:07+02:00"}`, 200, `"value":"2026-03-04T03:06:07Z","value_type":5`)
	f("POST", one+"set_attribute/", `{"item1":"n","item2":3}`, 200, `"value":3,"value_type":2`)
	f("POST", one+"set_attribute/", `{"attribute":"id","value":3}`, 400)
	f("POST", one+"set_attribute/", `{"value":3}`, 400, `{"errors":{"attribute":["This field is required."]}}`)
	r = f("POST", one+"set_multiple_attributes/", `{"n":null,"day":"2026-03-04","ok":false,"x":{"b": [1, 2]}}`, 200)
	if r.body != "" || r.header.Get("Content-Length") != "0" || r.header.Get("Content-Type") != "" {
		t.Errorf("reply %q, headers %v", r.body, r.header)
	}
	f("GET", one, "", 200, `"value":"2026-03-04","value_type":3`, `"value":false`, `"value":{"b":[1,2]}`)
	if r := f("DELETE", one+"remove_attribute/", `{"attribute":"day"}`, 200); strings.Contains(r.body, "2026-03-04\",") {
		t.Errorf("still there: %s", r.body)
	}
	f("POST", one+"remove_attribute", `{"attribute":"email"}`, 200, `"email":null`)
	f("POST", one+"remove_attribute/", `{"attribute":"user_id"}`, 400)

	// A closed app takes nothing; a store that cannot write says so.
	ts.store.readOnly = spoor.ErrReadOnly
	if r := f("POST", users, `{}`, 503); r.header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	ts.store.readOnly = errDisk
	f("POST", users, `{}`, 500, string(errInternal.body))
	if !strings.Contains(ts.log.String(), "bad block") {
		t.Error("the operator was not told")
	}
	ts.store.apps.list[0].Closed = true
	f("POST", users, `{}`, 403, "closed")
}

func TestOwnIDByVersion(t *testing.T) {
	ts := newTestServer(t)
	const v2 = "Accept: */*; version=2"
	r := ts.do("POST", "/api/public/users/", "shop-write", `{"custom_id":"c1","user_id":5}`, v2)
	if r.status != 201 || !strings.Contains(r.body, `"custom_id":"c1"`) || r.header.Get("X-Spoor-Ignored") != "user_id" {
		t.Errorf("%d %s, ignored %q", r.status, r.body, r.header.Get("X-Spoor-Ignored"))
	}
	r = ts.do("POST", "/api/public/users/update_or_create/", "shop-write", `{"user_id":"c1"}`, v2)
	if r.body != `{"errors":{"custom_id":["This field is required."]}}` {
		t.Errorf("%s", r.body)
	}
}

// A cookie turns into the user who logs in with it, unless it is somebody's.
func TestKeyOfVisitor(t *testing.T) {
	ts := newTestServer(t)
	ts.store.profiles[1] = []*spoor.Profile{
		{App: 1, Number: 1, ID: 1001, Keys: []string{"anonymous"}},
		{App: 1, Number: 2, ID: 1002, Keys: []string{"claimed"}, UserID: "eva"},
	}
	f := func(path, body string, status int, contains string) {
		t.Helper()
		if r := ts.do("POST", path, "shop-write", body); r.status != status || !strings.Contains(r.body, contains) {
			t.Errorf("%s: got %d %s, want %d with %s", body, r.status, r.body, status, contains)
		}
	}
	f("/api/public/users/", `{"user_id":"ada","user_key":"anonymous"}`, 201, `"id":1001,`)
	f("/api/public/users/", `{"user_id":"bob","user_key":"claimed"}`, 201, `"id":1003,`)
	f("/api/public/users/update_or_create/", `{"user_id":"cid","user_key":"claimed"}`, 200, `{"created":true,"id":1004}`)
	if p, _ := ts.store.Profile(1, 2); p.UserID != "eva" {
		t.Errorf("the claimed profile became %q", p.UserID)
	}
}

func TestEditValues(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		fields, err := members([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		e := newEdit(fields, false)
		if err := e.errs.err(); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		var got []string
		for _, a := range e.attributes {
			got = append(got, fmt.Sprintf("%s %s %s", a.Name, a.Type, a.Text))
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%s: got %s, want %s", body, s, want)
		}
	}
	f(`{}`, "")
	f(`{"a":"x","b":1,"c":1.5,"d":true,"e":null,"f":[1, {"x":2}]}`, `a string x; b integer 1; c float 1.5; d boolean true; e null ; f json [1,{"x":2}]`)
	f(`{"a":"2026-02-29","b":"2024-02-29","c":"2024-02-29T01:02:03.5+01:00"}`, "a string 2026-02-29; b date 2024-02-29; c datetime 2024-02-29T00:02:03.5Z")
	f(`{"a":9223372036854775808,"b":1e3,"c":-0.0,"d":""}`, "a float 9223372036854776000; b float 1000; c float -0; d string ")
	f(`{"gender":"Female","status":1,"score":3.0,"notifications":0}`, "gender integer 3; status string visitor; score integer 3; notifications boolean false")
	f(`{"gender":"2","country":"pl","phone_number":48600,"assigned_to":7,"web_push_subscription":true}`, "gender integer 2; country string PL; phone_number string 48600; assigned_to string 7; web_push_consent boolean true")
	f(`{"country":"Deutschland","last_ip":"1.2.3.4","id":5}`, "country string Deutschland")
}

func TestEditRefusals(t *testing.T) {
	ts := newTestServer(t)
	f := func(body, want string) {
		t.Helper()
		r := ts.do("POST", "/api/public/users/", "shop-write", body)
		if r.status != 400 || !strings.Contains(r.body, want) {
			t.Errorf("%.80s: got %d %.200s, want %s", body, r.status, r.body, want)
		}
	}
	f(`{"gender":"invalid"}`, `{"errors":{"gender":["\"invalid\" is not a valid choice."]}}`)
	f(`{"gender":4}`, `is not a valid choice`)
	f(`{"gender":"<\u0001\">"}`, `"\"<\\x01\\\">\" is not a valid choice."`)
	f(`{"email":"nobody"}`, `{"errors":{"email":["Enter a valid email address."]}}`)
	f(`{"email":true,"score":"x","unsubscribed":"maybe","first_name":{}}`, `{"errors":{"email":["Not a valid string."],"score":["A valid integer is required."],"unsubscribed":["Must be a valid boolean."],"first_name":["Not a valid value."]}}`)
	for _, id := range []string{`"null"`, `"undefined"`, `0`, `"[object Object]"`, `1.5`, `{}`, `true`, `"a\u0000"`, `"` + strings.Repeat("x", 513) + `"`} {
		f(`{"user_id":`+id+`}`, `{"errors":{"user_id":["Not a valid id."]}}`)
	}
	f(`{"a":"x\u0000"}`, "NUL")
	f(`{"a":"`+strings.Repeat("x", textBytesMax+1)+`"}`, "longer than")
	f(`{"a":["`+strings.Repeat("x", valueBytesMax)+`"]}`, "larger than")
	f(`{"a":`+strings.Repeat("[", 33)+strings.Repeat("]", 33)+`}`, "deeper than 32")
	f(`{"a":1e999}`, "too large")
	f(`{"`+strings.Repeat("n", 5000)+`":1}`, "longer than 128 bytes")
	f(`{"a\u0000":1}`, "control characters")
	f(`{" ":1}`, "empty")
	for _, body := range []string{``, `[]`, `{`, `{"a":1}x`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"a":NaN}`, `{"a":` + strings.Repeat("[", 20000), `null`} {
		f(body, "The body is no JSON object")
	}
	f(`{`+manyFields(501)+`}`, "more than 500")
}

func manyFields(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf(`"f%d":1`, i))
	}
	return strings.Join(parts, ",")
}
