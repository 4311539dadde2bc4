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
	for _, w := range m.Wiphys {
		for i, s := range w.Stays {
			if s.Netns.into != nil || i < len(w.Stays)-1 && s.Left == "" {
				t.Errorf("%s was in two namespaces at once, or in none", w.Label())
			}
		}
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
