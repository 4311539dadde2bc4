// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

func TestRate(t *testing.T) {
	const second = 1_000_000_000
	tests := []struct {
		n, time         uint64
		rate, bandwidth string
	}{
		{0, second, "0", "0 bit/s"},
		{1, second, "1", "8 bit/s"},
		{1, 3 * second, "0.33", "2.67 bit/s"},
		{9_994, 1000 * second, "9.99", "80.0 bit/s"},
		{9_996, 1000 * second, "10.0", "80.0 bit/s"},
		{999, 10 * second, "99.9", "799 bit/s"},
		{124, second, "124", "992 bit/s"},
		{125, second, "125", "1 kbit/s"},
		{12_345, second, "12345", "98.8 kbit/s"},
		{1_500_000, second / 10, "15000000", "120 Mbit/s"},
		{1 << 40, second, "1099511627776", "8.80 Tbit/s"},
	}
	for _, tt := range tests {
		if r, b := rate(tt.n, tt.time), bandwidth(tt.n, tt.time); r != tt.rate || b != tt.bandwidth {
			t.Errorf("%d in %d ns: %s and %s, want %s and %s", tt.n, tt.time, r, b, tt.rate, tt.bandwidth)
		}
	}
}

// Of a row whose every count may not be the last, nothing is known.
func TestRatesAllUnknown(t *testing.T) {
	a := analyze.New()
	s := story.New(a)
	d := story.Netdev{Ptr: 0xdd0000, Net: story.Initial, Ifindex: 3, Name: "wlan0"}
	s.Register(d)
	s.Read(d, s.T, s.T, 10)
	s.HandleDamage(&event.Damage{Time: s.T, Reason: "made up"})
	s.T += story.MS
	m := a.Model()
	var text, data strings.Builder
	if err := Text(&text, m, Options{}); err != nil {
		t.Fatal(err)
	}
	if want := "init       wlan0      unknown  unknown    unknown  unknown         unknown     unknown\n"; !strings.Contains(text.String(), want) {
		t.Errorf("no %q in\n%s", want, text.String())
	}
	if err := JSON(&data, m, Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(data.String(), `"rates": null`) {
		t.Errorf("rates in\n%s", data.String())
	}
}

// What may be missing is unknown wherever it would show.
func TestRatesUnknown(t *testing.T) {
	a := analyze.New()
	s := story.New(a)
	d := story.Netdev{Ptr: 0xdd0000, Net: story.Initial, Ifindex: 3, Name: "wlan0"}
	s.Register(d)
	for i := range uint64(32) {
		s.T = (1000 + 100*(i+1)) * story.MS
		if i == 16 {
			s.HandleDamage(&event.Damage{Time: s.T, Reason: "made up"})
		}
		s.Read(d, s.T-100*story.MS, s.T-story.MS, 10)
	}
	m := a.Model()
	var text, data strings.Builder
	if err := Text(&text, m, Options{}); err != nil {
		t.Fatal(err)
	}
	// Readings 15 and 16 are those about the damage.
	const want = "unknown  unknown             100   80 kbit/s  +0.000 s, for 100 ms  ███████████████??███████████████\n"
	if !strings.Contains(text.String(), want) {
		t.Errorf("no %q in\n%s", want, text.String())
	}
	if err := JSON(&data, m, Options{}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Namespaces []struct {
			Delivery []struct {
				Rates struct {
					Packets, Bytes []*uint64
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(data.String()), &got); err != nil {
		t.Fatal(err)
	}
	r := got.Namespaces[0].Delivery[0].Rates
	for i := range r.Packets {
		if missing := i == 15 || i == 16; (r.Packets[i] == nil) != missing || (r.Bytes[i] == nil) != missing {
			t.Errorf("bucket %d: %v packets", i, r.Packets[i])
		}
	}
}
