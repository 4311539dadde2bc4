// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/report"
)

// refusals is a recording of so many requests that were refused, of which each
// name was asked for times in a row.
func refusals(n, times int) *analyze.Model {
	a := analyze.New()
	s := story.New(a)
	for i := range n {
		s.By(7, "udevd").Netlink(event.Event{
			Kind: event.KindRTNetlink, Arg: unix.RTM_SETLINK, WiphyIndex: -1, Nsid: -1,
			Ifindex: 1, Name: fmt.Sprintf("x%d", i/times), Ret: uint32(unix.EBUSY),
		}, nil)
	}
	s.End()
	return a.Model()
}

// What is tried again and again takes one line; what was only counted is said so.
func TestManyRequests(t *testing.T) {
	for _, c := range []struct {
		n, times, lines int
		says            string
	}{
		{6, 3, 2, " (3 times until +"},
		{6, 1, 6, ""},
		{50_000, 25_000, 2, " more requests over nl80211 and rtnetlink are only counted"},
	} {
		var b bytes.Buffer
		if err := report.Text(&b, refusals(c.n, c.times), report.Options{}); err != nil {
			t.Fatal(err)
		}
		_, timeline, _ := strings.Cut(b.String(), "\nTIMELINE\n")
		timeline, _, _ = strings.Cut(timeline, "\n\n")
		if n := strings.Count(timeline, "udevd[7] asked to rename lo to x"); n != c.lines || !strings.Contains(timeline, c.says) {
			t.Errorf("%d requests, each %d times: %d lines, want %d and %q:\n%s", c.n, c.times, n, c.lines, c.says, timeline)
		}
	}
}
