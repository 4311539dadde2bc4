// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// rowsOf writes all delivery rows in short.
func rowsOf(m *Model) string {
	var out []string
	for _, d := range m.Delivery {
		rx := "?"
		if d.RxPackets != nil {
			rx = fmt.Sprint(*d.RxPackets)
		}
		out = append(out, fmt.Sprintf("%s/%s %d/%s", d.Netns.Label(), d.Device.Label(), d.Packets, rx))
	}
	return strings.Join(out, "; ")
}

func TestDelivery(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	tests := []struct {
		name string
		tell func(*tale) *Model
		want string
	}{
		{"born here, there at the end", func(s *tale) *Model {
			s.Received(wlan0, 5, n(0))
			s.Received(wlan0, 2, nil)
			return s.end(story.State(story.Initial, story.Link(withRx(wlan0, 7))), story.State(red))
		}, "init/wlan0 7/7"},
		{"no closing snapshot", func(s *tale) *Model {
			s.Received(wlan0, 5, n(0))
			return s.end()
		}, "init/wlan0 5/?"},
		{"counters go on across a move", func(s *tale) *Model {
			s.Received(wlan0, 5, n(0))
			d := wlan0
			s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { d = s.Move(withRx(wlan0, 5), red, story.Outcome{}) })
			s.Received(d, 4, n(5))
			return s.end(story.State(story.Initial), story.State(red, story.Link(withRx(d, 9))))
		}, "init/wlan0 5/5; red/wlan0 4/4"},
		{"counts read out after the move", func(s *tale) *Model {
			at := s.T
			d := wlan0
			s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { d = s.Move(withRx(wlan0, 5), red, story.Outcome{}) })
			s.late(wlan0, 5, at)
			return s.end(story.State(story.Initial), story.State(red, story.Link(withRx(d, 5))))
		}, "init/wlan0 5/5"},
		{"there and back", func(s *tale) *Model {
			s.Received(wlan0, 5, n(0))
			d := s.Move(withRx(wlan0, 5), red, story.Outcome{})
			s.Received(d, 100, n(5))
			d = s.Move(withRx(d, 105), story.Initial, story.Outcome{})
			s.Received(d, 3, nil)
			return s.end(story.State(story.Initial, story.Link(withRx(d, 108))), story.State(red))
		}, "init/wlan0 8/8; red/wlan0 100/100"},
		{"removed", func(s *tale) *Model {
			s.Received(wlan0, 5, n(0))
			s.Unregister(withRx(wlan0, 6))
			return s.end()
		}, "init/wlan0 5/6"},
		{"address reused before the count is read", func(s *tale) *Model {
			at := s.T
			s.Unregister(withRx(wlan0, 5))
			again := wlan0
			again.Ifindex, again.Name = 8, "wlan8"
			s.Register(again)
			s.late(wlan0, 5, at)
			return s.end()
		}, "init/wlan0 5/5"},
		{"never heard of", func(s *tale) *Model {
			d := wlan0
			d.Ptr, d.Ifindex = 0xeeee, 77
			s.Received(d, 5, nil)
			return s.end()
		}, "init/interface number 77 5/?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := rowsOf(tt.tell(stand())); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func withRx(d story.Netdev, rx uint64) story.Netdev {
	d.Rx = rx
	return d
}

// late is a count of packets that came at an earlier time.
func (s *tale) late(d story.Netdev, packets, at uint64) {
	s.HandleCount(&event.Count{
		Flow:  event.Flow{Net: d.Net, Dev: d.Ptr, Ifindex: d.Ifindex, Path: event.PathDeliverSKB},
		First: at, Last: at, Time: s.Tick(), Packets: packets,
	})
}

// For a device older than the recording, counting began somewhere between the
// snapshot's reading and the first packet: the first packet's base is exact.
func TestDeliveryBase(t *testing.T) {
	tests := []struct {
		name  string
		base  *uint64
		stats bool
		want  string
	}{
		{"the flow's base", new(uint64(103)), true, "init/wlan0 5/5"},
		{"the snapshot's", nil, true, "init/wlan0 5/8"},
		{"neither", nil, false, "init/wlan0 5/?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := blank()
			l := story.Link(withRx(wlan0, 100))
			l.Stats = tt.stats
			s.Snapshot(false, story.State(story.Initial, l))
			s.Received(wlan0, 5, tt.base)
			got := rowsOf(s.end(story.State(story.Initial, story.Link(withRx(wlan0, 108)))))
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestDifferenceIsAFinding(t *testing.T) {
	s := stand()
	base := uint64(0)
	s.Received(wlan0, 5, &base)
	m := s.end(story.State(story.Initial, story.Link(withRx(wlan0, 7))), story.State(red))
	f := m.finding(t, "delivery-differs")
	if f == nil || !strings.Contains(f.Text, "2 fewer") {
		t.Errorf("got %+v", f)
	}
}
