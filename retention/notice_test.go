package retention

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// hook is a customer's webhook on a real socket.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	bodies []string
	signed []string
}

func newHook(t *testing.T) *hook {
	h := &hook{status: 200}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if err == nil && h.status == 200 {
			h.bodies = append(h.bodies, string(body))
			h.signed = append(h.signed, r.Header.Get("X-Spoor-Signature"))
		}
		if h.status == 302 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(h.status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) answers(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func (h *hook) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.bodies...)
}

// Goal: the customer is told of objections, restrictions and erasures, signed,
// in their order, once each, and again after failures; a hold is nobody else's
// business; what nobody takes for three days is given up.
func TestNotices(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	h := newHook(t)
	var err error
	w.app, err = w.st.UpdateApp(w.app.ID, func(a *spoor.App) error {
		a.Settings.Webhook, a.WebhookSecret = h.URL+"/spoor", "the secret"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := w.hit("cookie-of-a-person")
	p, err := w.st.Profile(w.app.ID, n)
	if err != nil {
		t.Fatal(err)
	}
	day := w.app.Day(start.UnixMilli())
	for _, r := range []struct {
		right spoor.Right
		until spoor.Day
	}{{spoor.RightRestrict, day + 9}, {spoor.RightHold, spoor.Forever}, {spoor.RightHold, 0}, {spoor.RightObject, spoor.Forever}, {spoor.RightObject, 0}} {
		if _, err := w.st.SetRight(w.app.ID, n, r.right, r.until); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.s.Erase(context.Background(), w.app.ID, n, "hash", false); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	deliver := func(by *Notifier, took int) {
		t.Helper()
		if err := by.Deliver(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := h.got(); len(got) != took {
			t.Fatalf("%d notices were taken, want %d: %q", len(got), took, got)
		}
	}
	deliver(NewNotifier(NotifierOptions{Store: w.st, Now: w.Now, Log: log, Private: false}), 0) // this machine is no public address
	w.at(start.Add(noticeFirst))
	d := NewNotifier(NotifierOptions{Store: w.st, Now: w.Now, Log: log, Private: true})
	h.answers(500)
	deliver(d, 0)
	h.answers(302) // a redirect could lead inside
	w.at(w.Now().Add(2 * noticeFirst))
	deliver(d, 0)
	h.answers(200)
	deliver(d, 0) // it is not time yet
	w.at(w.Now().Add(4 * noticeFirst))
	deliver(d, 4)
	deliver(d, 4)
	for i, want := range []string{
		`"type":"restriction.set","until":"2026-02-23"`, `"type":"objection.set"`, `"type":"objection.lifted"`, `"type":"erased"`,
	} {
		body := h.got()[i]
		if !strings.Contains(body, want) || !strings.Contains(body, fmt.Sprintf(`"user":{"id":%d}`, p.ID)) || strings.Contains(body, "cookie") {
			t.Errorf("notice %d: %s, want %s", i, body, want)
		}
		at, sum, ok := strings.Cut(strings.TrimPrefix(h.signed[i], "t="), ",v1=")
		mac := hmac.New(sha256.New, []byte("the secret"))
		mac.Write([]byte(at + "." + body))
		if !ok || sum != hex.EncodeToString(mac.Sum(nil)) {
			t.Errorf("notice %d: signature %q", i, h.signed[i])
		}
	}
	if f := d.Figures(); f != (NoticeFigures{Sent: 4, Failed: 2}) {
		t.Errorf("figures %+v", f)
	}

	h.answers(503)
	n = w.hit("another")
	if _, err := w.st.SetRight(w.app.ID, n, spoor.RightObject, spoor.Forever); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		w.at(w.Now().Add(time.Hour))
		deliver(d, 4)
	}
	h.answers(200)
	deliver(d, 4)
	if f := d.Figures(); f.GivenUp != 1 || f.Failed < 70 {
		t.Errorf("figures %+v", f)
	}
}
