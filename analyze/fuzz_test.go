// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"math/rand/v2"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
)

// check is what must hold of any model.
func check(t *testing.T, m *Model) {
	t.Helper()
	ids := make(map[string]bool)
	cookies := make(map[uint64]bool)
	for _, n := range m.Namespaces {
		if ids[n.ID] || n.Label() == "" {
			t.Errorf("namespace %s: not alone, or without a label", n.ID)
		}
		if n.Cookie != 0 && cookies[n.Cookie] {
			t.Errorf("two lives have cookie %d", n.Cookie)
		}
		ids[n.ID], cookies[n.Cookie] = true, true
	}
	for _, d := range m.Devices {
		for i, s := range d.Stays {
			if !ids[s.Netns.ID] || s.Netns.into != nil {
				t.Errorf("%s was in a namespace that isn't there", d.Label())
			}
			if i < len(d.Stays)-1 && s.Left == "" {
				t.Errorf("%s was in two namespaces at once", d.Label())
			}
		}
	}
	for _, d := range m.Delivery {
		checkRates(t, d)
	}
	for _, n := range m.Namespaces {
		checkTasks(t, n)
		for _, x := range n.Nsids {
			if x.Peer != nil && !ids[x.Peer.ID] {
				t.Errorf("number %d of %s is for a namespace that isn't there", x.ID, n.Label())
			}
		}
	}
	for _, w := range m.Wiphys {
		for i, s := range w.Stays {
			if s.Netns.into != nil || i < len(w.Stays)-1 && s.Left == "" {
				t.Errorf("%s was in two namespaces at once, or in none", w.Label())
			}
		}
	}
}

// checkTasks: nobody is in a namespace twice at the end, and nobody is listed for
// the initial one.
func checkTasks(t *testing.T, n *Netns) {
	t.Helper()
	if n.Initial && len(n.TaskStays) != 0 {
		t.Errorf("%d tasks are listed for the initial namespace", len(n.TaskStays))
	}
	last := make(map[taskKey]*TaskStay)
	for _, s := range n.TaskStays {
		if s.Netns != n || (s.Left == "") != (s.Until == 0) || s.Until != 0 && s.Until < s.From {
			t.Errorf("%s in %s: %+v", s.Who(), n.Label(), s)
		}
		if before := last[s.key()]; before != nil && before.Until == 0 && s.Until == 0 {
			t.Errorf("%s is in %s twice", s.Who(), n.Label())
		}
		last[s.key()] = s
	}
}

// random is bytes for story.Noise.
func random(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, 3000)
	for j := range b {
		b[j] = byte(r.Uint32())
	}
	return b
}

func TestNoise(t *testing.T) {
	for seed := range uint64(500) {
		a := New()
		story.Noise(a, random(seed))
		check(t, a.Model())
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func FuzzAnalyzer(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(random(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := New()
		story.Noise(a, data)
		check(t, a.Model())
	})
}
