package query

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

func TestUserJSON(t *testing.T) {
	ts := newTestServer(t)
	ts.addProfile(1, 1, "ada@x/1=", "ada@example.com")
	ts.store.profiles[1] = append(ts.store.profiles[1], &spoor.Profile{App: 1, Number: 2, ID: 1002, Keys: []string{"j3WiRFnxpPqP"}, CreatedAt: 1540843232471, UpdatedAt: 1540843232471})
	const full = `{"id":1001,"key":"cookie000001","name":"Ada Byron","email":"ada@example.com","gender":"female","status":"user","phone_number":"+48600100200",` +
		`"first_seen":"2026-03-04T05:08:07.000000Z","last_seen":"2026-03-04T05:09:07.000000Z","page_views":7,"last_ip":"203.0.113.0","timezone":"Europe/Warsaw","city":"Gdańsk","region":"Pomerania","country":"Poland",` +
		`"unsubscribed":false,"browser_language":"pl","score":-5,"browser":"Firefox","os_type":"Windows","resolution":"1920x1080","created_at":"2026-03-04T05:06:07.000000Z","updated_at":"2026-03-04T05:07:07.000000Z","companies":[],` +
		`"attributes":[{"id":4218134771823921,"name":"nested","name_std":"nested","value":{"a":[1]},"value_type":8},{"id":2918674031407419,"name":"plan","name_std":"plan","value":"gold","value_type":4},` +
		`{"id":60006881736844,"name":"paid","name_std":"paid","value":true,"value_type":1},{"id":605855479890204,"name":"spent","name_std":"spent","value":12.5,"value_type":7}],` +
		`"gravatar_url":null,"lists":[],"tags":[],"notifications":true,"facebook_url":null,"linkedin_url":null,"twitter_url":null,"google_url":null,"last_contacted":"2026-03-04T05:10:07.000000Z","user_id":"ada@x/1=",` +
		`"device":"desktop","last_heard_from":"2026-03-04T05:11:07.000000Z","last_email_opened":"2026-03-04T05:12:07.000000Z","last_email_clicked":"2026-03-04T05:13:07.000000Z","assigned_to":12,"web_push_subscription":true,` +
		`"first_name":"Ada","last_name":"Byron","country_code":"PL","os_version":"11","browser_version":"150","mobile_ids":["push-1"]}`
	const empty = `{"id":1002,"key":"j3WiRFnxpPqP","name":null,"email":null,"gender":"unknown","status":"visitor","phone_number":null,"first_seen":null,"last_seen":null,"page_views":0,"last_ip":null,"timezone":null,"city":null,"region":null,"country":null,` +
		`"unsubscribed":false,"browser_language":null,"score":0,"browser":null,"os_type":null,"resolution":null,"created_at":"2018-10-29T20:00:32.471000Z","updated_at":"2018-10-29T20:00:32.471000Z","companies":[],"attributes":[],"gravatar_url":null,"lists":[],"tags":[],` +
		`"notifications":true,"facebook_url":null,"linkedin_url":null,"twitter_url":null,"google_url":null,"last_contacted":null,"user_id":null,` +
		`"device":null,"last_heard_from":null,"last_email_opened":null,"last_email_clicked":null,"assigned_to":null,"web_push_subscription":false,"first_name":null,"last_name":null,"country_code":null,"os_version":null,"browser_version":null,"mobile_ids":[]}`
	f := func(path, want string, headers ...string) {
		t.Helper()
		r := ts.do("GET", path, "shop-read", "", headers...)
		if r.status != 200 || r.body != want {
			t.Errorf("GET %s: status %d\n got %s\nwant %s", path, r.status, r.body, want)
		}
		if r.header.Get("Content-Type") != "application/json" {
			t.Errorf("content type %q", r.header.Get("Content-Type"))
		}
	}
	f("/api/public/users/1001/", full)
	f("/api/public/users/1001", full)
	f("/api/public/users/ada@x%2F1=/", full) // not a number: the own id
	f("/api/public/users-by-id/ada%40x%2F1%3D/", full)
	f("/api/public/users/1002/", empty)
	v2 := strings.Replace(full, `"user_id":`, `"custom_id":`, 1)
	f("/api/public/users/1001/", v2, "Accept: */*; version=2")
	f("/api/public/users/1001/", full, "Accept: application/json; version=1")
}

func TestCountries(t *testing.T) {
	f := func(text, code, name string) {
		t.Helper()
		if got := countryCode(text); got != code {
			t.Errorf("code of %q is %q, want %q", text, got, code)
		}
		if got := countryName(code); got != name {
			t.Errorf("name of %q is %q, want %q", code, got, name)
		}
	}
	f("pl", "PL", "Poland")
	f("Poland", "PL", "Poland")
	f("united kingdom", "GB", "United Kingdom")
	f("uk", "GB", "United Kingdom")
	f("XK", "XK", "Kosovo")
	f("ZZ", "ZZ", "ZZ")
	f("Deutschland", "Deutschland", "Deutschland")
	f("", "", "")
}

func TestListsOfUsersAreWhole(t *testing.T) {
	f := func(total int, vanish bool, headers ...string) {
		t.Helper()
		ts := newTestServer(t)
		for i := range total {
			ts.addProfile(1, spoor.Number(i+1), fmt.Sprint("u", i), "a@b.c")
		}
		ts.addProfile(2, 1, "stranger", "s@b.c")
		seen := map[string]int{}
		path := "/api/public/users/"
		for pages := 0; path != ""; pages++ {
			r := ts.do("GET", path, "shop-read", "", headers...)
			var page struct {
				Count          int
				Next, Previous *string
				Results        []map[string]any
			}
			if err := json.Unmarshal([]byte(r.body), &page); err != nil {
				t.Fatalf("%s: %v", r.body, err)
			}
			if pages == 0 && (page.Count != total || page.Previous != nil) {
				t.Errorf("count %d, previous %v", page.Count, page.Previous)
			}
			if !strings.HasPrefix(r.body, `{"count":`) || page.Results == nil {
				t.Errorf("envelope %.60s", r.body)
			}
			for _, u := range page.Results {
				id, _ := u["user_id"].(string)
				if id == "" {
					id, _ = u["custom_id"].(string)
				}
				seen[id]++
			}
			if vanish && pages == 0 { // profiles of the first page are swept
				ts.store.profiles[1] = ts.store.profiles[1][3:]
			}
			path = ""
			if page.Next != nil {
				rest, ok := strings.CutPrefix(*page.Next, "http://spoor.test/")
				if !ok {
					t.Fatalf("next is %q", *page.Next)
				}
				path = "/" + rest
			}
		}
		if len(seen) != total || seen["stranger"] != 0 {
			t.Errorf("%d users in pages, want %d", len(seen), total)
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("%s was shown %d times", id, n)
			}
		}
	}
	const v2 = "Accept: */*; version=2"
	for _, total := range []int{0, 1, 99, 100, 101, 250} {
		f(total, false)
		f(total, false, v2)
	}
	f(250, true)
	f(250, true, v2)
}

func TestPageBehindTheLastIsEmpty(t *testing.T) {
	ts := newTestServer(t)
	ts.addProfile(1, 1, "ada", "a@b.c")
	r := ts.do("GET", "/api/public/users/?page=3", "shop-read", "")
	if want := `{"count":1,"next":null,"previous":"http://spoor.test/api/public/users/?page=2","results":[]}`; r.body != want {
		t.Errorf("got %s, want %s", r.body, want)
	}
}

func TestSearch(t *testing.T) {
	ts := newTestServer(t)
	ts.addProfile(1, 1, "ada", "ada+news@example.com")
	ts.addProfile(1, 2, "eva", "ADA+news@example.com")
	f := func(query string, want ...string) {
		t.Helper()
		r := ts.do("GET", "/api/public/users/search/"+query, "shop-read", "")
		var got []string
		var list []map[string]any
		if strings.HasPrefix(r.body, "[") {
			json.Unmarshal([]byte(r.body), &list)
		} else {
			var one map[string]any
			json.Unmarshal([]byte(r.body), &one)
			list = append(list, one)
		}
		for _, u := range list {
			id, _ := u["user_id"].(string)
			got = append(got, id)
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s: got %v from %d %s, want %v", query, got, r.status, r.body, want)
		}
	}
	f("?key=cookie000002", "eva")
	f("?key=device-1", "ada")
	f("?user_id=eva", "eva")
	f("?user_id=eva/", "eva")
	f("?custom_id=eva", "eva")
	f("?phone_number=%2B48600100200", "ada")
	f("?email=ada%2Bnews@example.com", "ada")
	f("?email=ada+news@example.com", "ada")
	f("?email=ada+news@example.com/", "ada")
	f("?email=ada%2Bnews@example.com&many=true", "ada", "eva")
	f("?email=nobody@example.com&many=true")
	for query, status := range map[string]int{"?email=no": 404, "": 400, "?many=true": 400, "?plan__contains=x": 501, "?search=first_seen&min=1": 501} {
		if r := ts.do("GET", "/api/public/users/search/"+query, "shop-read", ""); r.status != status {
			t.Errorf("%s: %d, want %d", query, r.status, status)
		}
	}
	audited := ts.audited()
	if a := audited[0]; a.Actor != "shop-read" || a.App != 1 || a.Subjects != 1 || len(a.Ref) != 32 || strings.Contains(fmt.Sprintf("%+v", audited), "example.com") {
		t.Errorf("audited %+v", a)
	}
}
