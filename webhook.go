package spoor

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

const (
	webhookWait  = 10 * time.Second // for one request
	webhookReply = 64 << 10         // bytes of an answer that are read, so that its connection can be used again; of its header at most
)

// Webhooks posts to addresses that customers choose. It follows no redirects,
// which could lead inside. Its methods may be called concurrently.
type Webhooks struct{ client *http.Client }

// NewWebhooks makes one. With private set, webhooks may lie in private networks
// and on this machine; else such addresses are refused, whatever name leads to
// them, since whoever may set a webhook need not be who runs the server.
func NewWebhooks(private bool) *Webhooks {
	dialer := &net.Dialer{Timeout: webhookWait}
	if !private {
		dialer.Control = publicOnly
	}
	return &Webhooks{&http.Client{
		Timeout: webhookWait,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: webhookReply,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

var (
	shared   = netip.MustParsePrefix("100.64.0.0/10")  // between a provider and its customers
	nat64    = netip.MustParsePrefix("64:ff9b::/96")   // the last four bytes are an address of IPv4
	nat64own = netip.MustParsePrefix("64:ff9b:1::/48") // of one's own network, RFC 8215
)

// publicOnly looks at the address that a name has led to.
func publicOnly(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("cannot read the address: %w", err)
	}
	ip := at.Addr().Unmap()
	if nat64.Contains(ip) {
		bytes := ip.As16()
		ip = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || shared.Contains(ip) || nat64own.Contains(ip) {
		return errors.New("it is a private address; --webhook-private of the server allows those")
	}
	return nil
}

// WebhookError is an answer other than 2xx.
type WebhookError struct {
	Status     int
	RetryAfter string // the header, as it came
}

func (e *WebhookError) Error() string { return fmt.Sprintf("it answered %d", e.Status) }

// Post sends JSON and returns nil once it was answered 2xx. The signature is the
// hex of HMAC-SHA256 with the secret over the time in Unix seconds, a dot, and
// the body. Errors: *WebhookError, and those of the network.
func (w *Webhooks) Post(ctx context.Context, url, secret string, body []byte, now time.Time) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(at + "."))
	mac.Write(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "spoor")
	req.Header.Set("X-Spoor-Signature", "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
	res, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, webhookReply))
	if res.StatusCode/100 != 2 {
		return &WebhookError{Status: res.StatusCode, RetryAfter: res.Header.Get("Retry-After")}
	}
	return err
}
