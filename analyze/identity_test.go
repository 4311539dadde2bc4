// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

var (
	red  = event.NetRef{Ptr: 0xffff1000, Cookie: 11, Inum: 4026532001}
	blue = event.NetRef{Ptr: 0xffff2000, Cookie: 12, Inum: 4026532002}
)

// without takes the cookie away, as on kernels that give none.
func without(n event.NetRef) event.NetRef {
	n.Cookie = 0
	return n
}

// lives writes the namespaces in short, one per word, to compare.
func lives(m *Model) string {
	var out []string
	for _, n := range m.Namespaces {
		s := fmt.Sprintf("%s:%d", n.Origin, n.Inum)
		if n.Initial {
			s = "init"
		}
		switch {
		case n.EndInferred:
			s += ":vanished"
		case n.Ended != 0:
			s += ":gone"
		case n.Put != nil:
			s += ":dying"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestNamespaceIdentity(t *testing.T) {
	bare, reused := without(red), without(red)
	reused.Ptr = blue.Ptr
	tests := []struct {
		name string
		tell func(*tale)
		want string
	}{
		{"a whole life", func(s *tale) {
			s.Setup(red)
			s.Cleanup(red, nil)
		}, "init created:4026532001:gone"},
		{"still there", func(s *tale) { s.Setup(red) }, "init created:4026532001"},
		{"dying", func(s *tale) {
			s.Setup(red)
			s.Put(red)
		}, "init created:4026532001:dying"},
		{"end not told, but the clean-up over", func(s *tale) {
			s.Setup(red)
			s.Setup(blue)
			s.Put(red)
			s.By(7, "kworker").Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseEnter})
			s.By(8, "ip").Put(blue) // too late for this batch
			s.By(7, "kworker").Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseExit})
		}, "init created:4026532001:vanished created:4026532002:dying"},
		{"pointer and inum reused", func(s *tale) {
			s.Setup(bare)
			s.Cleanup(bare, nil)
			s.Setup(bare)
		}, "init created:4026532001:gone created:4026532001"},
		{"inum reused while its last owner is dying", func(s *tale) {
			s.Setup(bare)
			s.Put(bare)
			s.Setup(reused)
			s.Free(bare)
		}, "init created:4026532001:gone created:4026532001"},
		{"pointer reused, end lost", func(s *tale) {
			s.Setup(red)
			s.Setup(event.NetRef{Ptr: red.Ptr, Cookie: 13, Inum: 4026532003})
		}, "init created:4026532001:vanished created:4026532003"},
		{"pointer reused, end and set-up lost", func(s *tale) {
			s.Setup(red)
			s.Put(event.NetRef{Ptr: red.Ptr, Cookie: 13, Inum: 4026532003})
		}, "init created:4026532001:vanished inferred:4026532003:dying"},
		{"inum reused, end lost, no cookies", func(s *tale) {
			s.Setup(bare)
			s.Setup(reused)
		}, "init created:4026532001:vanished created:4026532001"},
		{"put lost, inum reused before the clean-up is complete", func(s *tale) {
			s.Setup(bare)
			s.Setup(reused)
			s.Free(bare)
		}, "init created:4026532001:gone created:4026532001"},
		{"set-up's enter lost", func(s *tale) {
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: red, Flags: event.FlagNoEntry})
		}, "init created:4026532001"},
		{"set-up's enter lost, the loopback seen", func(s *tale) {
			s.Inside(event.KindSetupNet, func() {
				s.Register(story.Netdev{Ptr: 0x99, Net: event.NetRef{Ptr: red.Ptr}, Ifindex: 1, Name: "lo"})
			})
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: red, Flags: event.FlagNoEntry})
		}, "init created:4026532001"},
		{"set-up's enter lost at a reused address whose end was lost", func(s *tale) {
			s.Setup(bare)
			s.Inside(event.KindSetupNet, func() {
				s.Register(story.Netdev{Ptr: 0x99, Net: event.NetRef{Ptr: red.Ptr}, Ifindex: 1, Name: "lo"})
			})
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: without(refAt(blue, red.Ptr)), Flags: event.FlagNoEntry})
		}, "init created:4026532001:vanished created:4026532002"},
		{"set-up's exit lost", func(s *tale) {
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Net: event.NetRef{Ptr: red.Ptr}})
			s.Put(red)
		}, "init created:4026532001:dying"},
		{"set-up's exit lost, named by user space before an event has both", func(s *tale) {
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Net: event.NetRef{Ptr: red.Ptr}})
			s.Name(red, "red", true)
			s.Put(red)
		}, "init created:4026532001:dying"},
		{"set-up failed", func(s *tale) {
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Net: event.NetRef{Ptr: red.Ptr}})
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: red, Ret: 12})
			s.Setup(refAt(blue, red.Ptr))
		}, "init created:4026532001:gone created:4026532002"},
		{"begun in the middle", func(s *tale) {
			s.Put(red)
			s.Free(red)
		}, "init inferred:4026532001:gone"},
		{"the caller's namespace is enough", func(s *tale) {
			s.Caller = red
			s.Setup(blue)
		}, "init inferred:4026532001 created:4026532002"},
		{"cookie given late", func(s *tale) {
			s.Setup(without(red))
			s.Put(red)
			s.Free(red)
		}, "init created:4026532001:gone"},
		{"a namespace without an address in any event", func(s *tale) { s.Name(red, "red", true) }, "init inferred:4026532001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			tt.tell(s)
			if got := lives(s.end()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// The opening snapshot knows no addresses, and things go on while it is made.
func TestSnapshotIdentity(t *testing.T) {
	tests := []struct {
		name string
		tell func(*tale)
		want string
	}{
		{"cookie, then address", func(s *tale) {
			s.Snapshot(false, story.State(story.Initial), story.State(red))
			s.Cleanup(red, nil)
		}, "init preexisting:4026532001:gone"},
		{"inum alone, then address", func(s *tale) {
			s.Snapshot(false, story.State(story.Initial), story.State(without(red)))
			s.Cleanup(without(red), nil)
		}, "init preexisting:4026532001:gone"},
		{"inum alone, reused", func(s *tale) {
			s.Snapshot(false, story.State(story.Initial), story.State(without(red)))
			s.Cleanup(without(red), nil)
			s.Setup(without(red))
		}, "init preexisting:4026532001:gone created:4026532001"},
		{"created while the snapshot is made", func(s *tale) {
			s.racing(func() { s.Setup(red) }, story.State(story.Initial), story.State(red))
		}, "init created:4026532001"},
		{"ended while the snapshot is made", func(s *tale) {
			s.racing(func() { s.Cleanup(without(red), nil) }, story.State(story.Initial), story.State(without(red)))
		}, "init preexisting:4026532001:gone"},
		{"ended and reused while the snapshot is made", func(s *tale) {
			s.racing(func() {
				s.Cleanup(without(red), nil)
				s.Setup(without(red))
			}, story.State(story.Initial), story.State(without(red)))
		}, "init preexisting:4026532001:gone created:4026532001"},
		{"events before the snapshot", func(s *tale) {
			s.Setup(red)
			s.Snapshot(false, story.State(story.Initial), story.State(red))
		}, "init created:4026532001"},
		{"seen only as the caller's before the snapshot", func(s *tale) {
			s.Caller = red
			s.Setup(blue)
			s.Snapshot(false, story.State(story.Initial), story.State(red), story.State(blue))
		}, "init preexisting:4026532001 created:4026532002"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := blank()
			tt.tell(s)
			if got := lives(s.end()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// refAt is n with another address.
func refAt(n event.NetRef, ptr uint64) event.NetRef {
	n.Ptr = ptr
	return n
}

// racing delivers a snapshot, as a trace does, when it begins; f happens until
// it is finished.
func (s *tale) racing(f func(), states ...event.NetnsState) {
	b := s.Tick()
	s.HandleSnapshot(&event.Snapshot{Begin: b, Finish: b + 100*story.MS, Namespaces: states})
	f()
	s.T = b + 101*story.MS
	s.By(1, "systemd").Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseEnter})
}

func TestSnapshotRacesWithDevices(t *testing.T) {
	veth := story.Netdev{Ptr: 0x500, Net: story.Initial, Ifindex: 5, Name: "veth0", Kind: "veth", Rx: 3}
	other := story.Netdev{Ptr: 0x600, Net: story.Initial, Ifindex: 6, Name: "dummy0", Kind: "dummy"}
	s := blank()
	s.Setup(red)
	s.racing(func() {
		s.Unregister(other)
		s.Move(veth, red, story.Outcome{Name: "eth0"})
	}, story.State(story.Initial, story.Link(veth), story.Link(other)), story.State(red, story.Link(story.Netdev{Ifindex: 5, Name: "eth0", Kind: "veth"})))
	m := s.end()
	var got []string
	for _, d := range m.Devices {
		var stays []string
		for _, x := range d.Stays {
			stays = append(stays, fmt.Sprintf("%s/%d/%s/%s/%s", x.Netns.Label(), x.Ifindex, x.Name(), x.Arrived, x.Left))
		}
		got = append(got, string(d.Origin)+" "+strings.Join(stays, " "))
	}
	redLabel := m.Namespaces[1].Label()
	want := []string{
		"created " + redLabel + "/1/lo/created/",
		"preexisting init/6/dummy0/preexisting/removed",
		"preexisting init/5/veth0/preexisting/moved " + redLabel + "/5/eth0/moved/",
		"preexisting init/1/lo/preexisting/",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDeviceIdentity(t *testing.T) {
	eth := story.Netdev{Ptr: 0x500, Net: story.Initial, Ifindex: 5, Name: "veth0", Kind: "veth"}
	tests := []struct {
		name string
		tell func(*tale)
		want string // devices except loopbacks: origin and stays
	}{
		{"moved, renamed and removed", func(s *tale) {
			s.Register(eth)
			d := s.Move(eth, red, story.Outcome{})
			s.Rename(d, "eth0")
			d.Name = "eth0"
			s.Unregister(d)
		}, "created init/5/veth0/moved red/5/eth0/removed"},
		{"pointer reused", func(s *tale) {
			s.Register(eth)
			s.Unregister(eth)
			s.Register(eth)
		}, "created init/5/veth0/removed|created init/5/veth0/"},
		{"pointer reused, end lost", func(s *tale) {
			s.Register(eth)
			s.Register(eth)
		}, "created init/5/veth0/removed|created init/5/veth0/"},
		{"pointer reused, end and birth lost", func(s *tale) {
			s.Register(eth)
			d := eth
			d.Ifindex, d.Name = 9, "dummy0"
			s.Rename(d, "dummy1")
		}, "created init/5/veth0/removed|inferred init/9/dummy1/"},
		{"ifindex reused, end lost", func(s *tale) {
			s.Register(eth)
			d := eth
			d.Ptr = 0x700
			s.Register(d)
		}, "created init/5/veth0/removed|created init/5/veth0/"},
		{"the same ifindex in two namespaces", func(s *tale) {
			s.Register(eth)
			d := eth
			d.Ptr, d.Net = 0x700, red
			s.Register(d)
		}, "created init/5/veth0/|created red/5/veth0/"},
		{"the move's exit lost, then seen in its target", func(s *tale) {
			s.Register(eth)
			s.Move(eth, red, story.Outcome{Half: "enter"})
			d := eth
			d.Net, d.Name = red, "eth7"
			s.Rename(d, "eth8")
		}, "created init/5/veth0/moved red/5/eth8/"},
		{"the move lost altogether", func(s *tale) {
			s.Register(eth)
			d := eth
			d.Net = red
			s.Unregister(d)
		}, "created init/5/veth0/moved red/5/veth0/removed"},
		{"the move's enter lost", func(s *tale) {
			s.Register(eth)
			s.Move(eth, red, story.Outcome{Half: "exit"})
		}, "created init/5/veth0/moved red/5/veth0/"},
		{"never seen before its removal", func(s *tale) { s.Unregister(eth) }, "inferred init/5/veth0/removed"},
		{"a namespace takes its devices along", func(s *tale) {
			d := eth
			d.Net = red
			s.Register(d)
			s.Put(red)
			s.Free(red)
		}, "created red/5/veth0/removed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			s.Setup(red)
			s.Name(red, "red", true)
			tt.tell(s)
			if got := devicesOf(s.end()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// devicesOf writes all devices but loopbacks in short.
func devicesOf(m *Model) string {
	var out []string
	for _, d := range m.Devices {
		if d.Name == "lo" {
			continue
		}
		word := string(d.Origin)
		for _, x := range d.Stays {
			word += fmt.Sprintf(" %s/%d/%s/%s", x.Netns.Label(), x.Ifindex, x.Name(), x.Left)
		}
		out = append(out, word)
	}
	return strings.Join(out, "|")
}

func TestNames(t *testing.T) {
	s := begin()
	s.Setup(red)
	s.Name(red, "net", true)
	s.Name(red, "net", false)
	s.Setup(blue)
	s.Name(blue, "net", true)
	m := s.end()
	for i, want := range []string{"init", "net (ns2)", "net (ns3)"} {
		if got := m.Namespaces[i].Label(); got != want {
			t.Errorf("namespace %d is called %q, not %q", i, got, want)
		}
	}
	if x := m.Namespaces[1].Names; len(x) != 1 || x[0].Until == 0 {
		t.Errorf("the first one's name didn't end: %+v", x)
	}
	if x := m.Namespaces[2].CurrentNames(); len(x) != 1 {
		t.Errorf("the second one's names: %+v", x)
	}
}

func TestUnnamedIsDescribedByItsMaker(t *testing.T) {
	s := begin()
	s.By(1234, "unshare").Setup(red)
	s.By(1234, "unshare").Setup(blue) // the PID again
	m := s.end()
	if got, want := m.Namespaces[1].Label(), "unshare[1234]'s namespace net:[4026532001]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
