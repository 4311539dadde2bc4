// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/rlimit"

	"github.com/nstrace/nstrace/event"
)

// The tests here need a kernel to trace and may change the machine: e2e runs
// them on each kernel of the lab.

var descriptionFile = flag.String("description", "", "write this kernel's description to `FILE`, for testdata/kernels")

func inLab(t *testing.T) *kernel {
	t.Helper()
	if os.Getenv("NSTRACE_LAB") == "" {
		t.Skip("not in the lab; e2e runs this in virtual machines")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("modprobe", "mac80211").CombinedOutput(); err != nil {
		t.Fatalf("modprobe: %v: %s", err, out)
	}
	k, err := readKernel()
	if err != nil {
		t.Fatal(err)
	}
	k.learnTraceable()
	return k
}

// TestLabDescription writes down what planning is told of this kernel.
func TestLabDescription(t *testing.T) {
	k := inLab(t)
	if *descriptionFile == "" {
		t.Skip("no -description")
	}
	data, err := json.MarshalIndent(&k.description, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*descriptionFile, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestLabPrograms loads and attaches every program by every hook that the plan
// offers: none may be refused, not even where another hook would make up for it.
func TestLabPrograms(t *testing.T) {
	k := inLab(t)
	for _, mode := range []Mode{ModeFentry, ModeKprobe} {
		o := Options{Mode: mode, Delivery: DeliveryPackets}
		if err := o.normalise(); err != nil {
			t.Fatal(err)
		}
		l, err := newLoader(k, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		s := &Set{kernel: k, loader: l}
		for _, c := range plan(&k.description, mode, o.Delivery) {
			if len(c.hooks) == 0 {
				t.Logf("%s %s: absent: %s", mode, c.name, c.reason)
				continue
			}
			a := s.loader.attach(c)
			if a.ledger.Status != event.StatusAttached {
				t.Errorf("%s %s on %s: %s", mode, c.name, c.function.Name, a.ledger.Reason)
			}
			if err := a.detach(); err != nil {
				t.Errorf("%s %s: %v", mode, c.name, err)
			}
		}
	}
}

// TestLabFailure: a probe that no hook serves keeps what each of them said, in
// few words, and costs only itself.
func TestLabFailure(t *testing.T) {
	k := inLab(t)
	o := Options{Mode: ModeAuto, Delivery: DeliveryOff}
	if err := o.normalise(); err != nil {
		t.Fatal(err)
	}
	l, err := newLoader(k, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	s := &Set{kernel: k, loader: l}
	c := plan(&k.description, o.Mode, o.Delivery)[0]
	c.function, c.hooks, c.reason = function{Name: "no_such_function"}, []string{hookFentry, hookKprobe}, ""
	a := s.loader.attach(c)
	t.Log(a.ledger.Reason)
	fentry, kprobe, both := strings.Cut(a.ledger.Reason, "; kprobe: ")
	if a.ledger.Status != event.StatusFailed || !both || !strings.HasPrefix(fentry, "fentry: ") || kprobe == "" {
		t.Errorf("%s: %q", a.ledger.Status, a.ledger.Reason)
	}
	if len(a.ledger.Reason) > 400 || strings.Contains(a.ledger.Reason, "\n") {
		t.Errorf("too long: %q", a.ledger.Reason)
	}
	// Where fentry can't be had although it is tried, the kprobe makes up for it.
	c.function = function{Name: "cleanup_net"}
	hook, reason := hookFentry, ""
	if !k.Features.Fentry {
		hook, reason = hookKprobe, "fentry: "
	}
	a = s.loader.attach(c)
	if a.ledger.Status != event.StatusAttached || a.ledger.Hook != hook ||
		!strings.HasPrefix(a.ledger.Reason, reason) || (a.ledger.Reason == "") != (reason == "") {
		t.Errorf("%s by %s: %q", a.ledger.Status, a.ledger.Hook, a.ledger.Reason)
	}
	if err := a.detach(); err != nil {
		t.Error(err)
	}
}

// story is a Sink that remembers what is told of radios and interfaces.
type story struct {
	events []event.Event
	counts map[event.Flow]uint64
}

func (s *story) HandlePacket(*event.Packet)     {}
func (s *story) HandleStep(*event.Step)         {}
func (s *story) HandleTask(*event.Task)         {}
func (s *story) HandleCgroup(*event.CgroupPath) {}
func (s *story) HandleLoss(*event.Loss)         {}
func (s *story) HandleSymbol(*event.Symbol)     {}
func (s *story) HandleCount(c *event.Count)     { s.counts[c.Flow] += c.Packets }
func (s *story) HandleEvent(e *event.Event) {
	told := *e
	told.Seq, told.Time, told.Start, told.CPU = 0, 0, 0, 0
	switch told.Kind {
	case event.KindSetupNet, event.KindRegisterPernet, event.KindUnregisterPernet:
		told.Arg = 0 // a time as well
	}
	s.events = append(s.events, told)
}

// TestLabLayouts follows pointers through the modules' structures by BTF, where
// there is some, and by other facts, as kernels without the modules' BTF make it
// necessary. Both must lead to the same places.
func TestLabLayouts(t *testing.T) {
	k := inLab(t)
	kernels := []*kernel{k}
	if k.describes("mac80211") {
		blind := *k
		blind.Offsets = nil
		kernels = append(kernels, &blind)
	}
	var sets []*Set
	for _, k := range kernels {
		s, err := attach(k, Options{Mode: ModeKprobe, Delivery: DeliveryCount, LifecycleRing: 1 << 20, TaskRing: minRing, PacketRing: minRing})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		sets = append(sets, s)
	}
	radioLife(t)
	var stories []*story
	for _, s := range sets {
		told := &story{counts: map[event.Flow]uint64{}}
		if err := errors.Join(s.Stop(told), s.End(told)); err != nil {
			t.Fatal(err)
		}
		l, err := s.Ledger()
		if err != nil || l.Undecoded != 0 {
			t.Errorf("%d undecoded, %v", l.Undecoded, err)
		}
		checkReturns(t, k, &l)
		checkRadioLife(t, told)
		stories = append(stories, told)
	}
	if len(stories) == 2 {
		compareStories(t, stories[0], stories[1])
	}
}

// checkRadioLife: each event of radioLife names its radio and the right index.
func checkRadioLife(t *testing.T, told *story) {
	t.Helper()
	indices := map[string]int32{"phy0": 0, "phy1": 1, "strange": 1, "phy2": 2}
	kinds := map[event.Kind]int{}
	for _, e := range told.events {
		kinds[e.Kind]++
		if e.Kind == event.KindNL80211 {
			continue // what it names is what was asked for
		}
		index, known := indices[e.WiphyName]
		switch {
		case e.Wiphy == 0 && (e.Kind < event.KindWiphyNew || e.Kind > event.KindIfRemove):
		case e.Wiphy == 0:
			t.Errorf("no radio: %+v", e)
		case !known || e.WiphyIndex != index:
			t.Errorf("radio %q has the index %d", e.WiphyName, e.WiphyIndex)
		}
	}
	for kind, want := range map[event.Kind]int{
		event.KindWiphyNew: 3, event.KindWiphyRegister: 3, event.KindWiphyFree: 3,
		event.KindWiphyRename: 1, event.KindWiphySwitch: 4, // there and back, enter and exit
		event.KindIfAdd: 5, event.KindIfRemove: 2,
		event.KindWdevRegister: 1, event.KindWdevUnregister: 1,
	} {
		if kinds[kind] != want {
			t.Errorf("%d events of %v, want %d", kinds[kind], kind, want)
		}
	}
	if len(told.counts) == 0 {
		t.Error("nothing was delivered")
	}
}

func compareStories(t *testing.T, byBTF, byFacts *story) {
	t.Helper()
	if len(byBTF.events) != len(byFacts.events) || len(byBTF.events) == 0 {
		t.Fatalf("%d events by BTF, %d without", len(byBTF.events), len(byFacts.events))
	}
	for i, want := range byBTF.events {
		if got := byFacts.events[i]; got != want {
			t.Errorf("event %d: by BTF\n%+v, without\n%+v", i, want, got)
		}
	}
	if !reflect.DeepEqual(byBTF.counts, byFacts.counts) {
		t.Errorf("delivered by BTF %v, without %v", byBTF.counts, byFacts.counts)
	}
}

// radioLife lets three radios live through everything that happens to radios.
func radioLife(t *testing.T) {
	t.Helper()
	for _, command := range []string{
		"modprobe mac80211_hwsim radios=3",
		"ip netns add far",
		"iw phy phy2 set netns name far",
		"iw phy phy1 set name strange",
		"iw phy phy0 interface add vap0 type __ap",
		"iw dev vap0 del",
		"iw phy phy0 interface add p2p0 type __p2pdev",
		"iw wdev $(iw dev | sed -n 's/.*wdev //p' | sort | tail -1) del",
		"ip link set wlan0 up && ip link set wlan1 up",
		"iw dev wlan0 set type ibss || (ip link set wlan0 down; iw dev wlan0 set type ibss; ip link set wlan0 up)",
		"iw dev wlan1 set type ibss || (ip link set wlan1 down; iw dev wlan1 set type ibss; ip link set wlan1 up)",
		"iw dev wlan0 ibss join nstrace 2412 fixed-freq 02:11:22:33:44:55",
		"iw dev wlan1 ibss join nstrace 2412 fixed-freq 02:11:22:33:44:55",
		// IPv6 makes itself heard on each: that is enough to count.
		"sleep 3; ip link set wlan0 down; ip link set wlan1 down",
		"ip netns del far",
	} {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	waitFor(t, "phy2 to come home", func() bool { return exec.Command("iw", "phy", "phy2", "info").Run() == nil })
	if out, err := exec.Command("modprobe", "-r", "mac80211_hwsim").CombinedOutput(); err != nil {
		t.Fatalf("modprobe -r: %v\n%s", err, out)
	}
}

func waitFor(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for range 600 {
		if happened() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}
