package query

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// awayDigests has no brokers.
type awayDigests struct{}

func (awayDigests) Mark(context.Context) (string, error) {
	return "", fmt.Errorf("%w: a command is not acknowledged", spoor.ErrBusy)
}

func (awayDigests) Digests(string) []PartitionDigest { return nil }

// Goal: who compares nodes while the brokers are away is told of the brokers, not
// of a server that is busy.
// Method: a mark that no broker takes.
func TestDigestWithoutBrokers(t *testing.T) {
	ts := newTestServer(t, func(o *Options) { o.Digests = awayDigests{} })
	rep := ts.do("POST", "/api/admin/digests/", "control", "")
	if rep.status != 503 || !strings.Contains(rep.body, "The brokers of the cluster did not take") || rep.header.Get("Retry-After") != "5" {
		t.Errorf("%d %s, Retry-After %q", rep.status, rep.body, rep.header.Get("Retry-After"))
	}
}
