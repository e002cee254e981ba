package main_test

import (
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// Goal: spoor partitions tells a day that takes no more hits from one that does.
// Method: a store that was last written ten days ago is served, takes a hit, and
// is asked.
func TestPartitionsShowSealedAndOpenDays(t *testing.T) {
	data := folder(t)
	then := time.Now().AddDate(0, 0, -10)
	st, err := store.Open(store.Options{Dir: data, Now: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	app, err := st.CreateApp(&spoor.App{
		Name: "shop", Created: then.UnixMilli(), Settings: spoor.DefaultSettings("UTC"), Keys: []spoor.WriteKey{{Key: "shop-key"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	hits := []spoor.Hit{{App: app.ID, Kind: spoor.KindPage, Door: spoor.DoorNative, Key: "visitor", Time: then.UnixMilli(), Received: then.UnixMilli()}}
	if err := st.Write(hits); err != nil || hits[0].Outcome != spoor.Stored {
		t.Fatal(err, hits[0].Outcome)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, data)
	for _, visitor := range []string{"a", "b"} {
		req, err := http.NewRequest("POST", s.collector+"/hit?k=shop-key", strings.NewReader(`{"key":"`+visitor+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0") // else a bot's
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	out, err := exec.Command(binary, "partitions", "--data", data).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, row := range []string{
		"shop +" + then.UTC().Format(time.DateOnly) + " +1 +1 .* sealed",
		"shop +" + time.Now().UTC().Format(time.DateOnly) + " +2 +2 .* open",
	} {
		if !regexp.MustCompile("(?m)^" + row + "$").Match(out) {
			t.Errorf("no row %q in\n%s", row, out)
		}
	}
}
