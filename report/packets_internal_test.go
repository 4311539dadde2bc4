// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"

	"github.com/nstrace/nstrace/event"
)

func TestTextPacketRecords(t *testing.T) {
	for _, c := range []struct {
		in   *event.PacketOptions
		want string
	}{
		{nil, ""},
		{&event.PacketOptions{Snaplen: 128}, "the first 128 bytes of each recorded"},
		{
			&event.PacketOptions{Netns: []string{"blue", "\x1b[2J"}, Ethertypes: []uint16{0x806, 0x88cc}},
			`recorded one by one only into blue or "\x1b[2J", of type 0x0806 or 0x88cc, but all are counted`,
		},
		{
			&event.PacketOptions{Snaplen: 64, Devices: []string{"wlan0"}},
			"the first 64 bytes of each recorded; recorded one by one only to wlan0, but all are counted",
		},
	} {
		if got := packetRecords(c.in); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.in, got, c.want)
		}
	}
}
