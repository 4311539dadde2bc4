// SPDX-License-Identifier: Apache-2.0

package e2e

import "testing"

// randomLeast is how often each kind of operation succeeds and fails at least in
// 5000: less than half of what it does with most seeds, on any kernel. What
// isn't to fail needn't.
var randomLeast = map[string]struct{ succeeded, failed int }{
	"agent.add":     {10, 1},
	"agent.give":    {1, 10},
	"enter":         {50, 20},
	"hold":          {50, 0},
	"link.add":      {200, 80},
	"link.altname":  {20, 15},
	"link.del":      {80, 40},
	"link.master":   {4, 8},
	"link.move":     {100, 100},
	"link.rename":   {80, 30},
	"link.up":       {40, 0},
	"module.hwsim":  {1, 0},
	"module.load":   {4, 0},
	"module.remove": {4, 0},
	"netns.add":     {15, 15},
	"netns.attach":  {10, 15},
	"netns.burst":   {8, 0},
	"netns.del":     {20, 5},
	"netns.flash":   {60, 0},
	"netns.mounts":  {5, 0},
	"netns.nest":    {2, 0},
	"netns.process": {15, 0},
	"netns.refused": {0, 8},
	"netns.thread":  {50, 0},
	"netns.user":    {7, 0},
	"radio.add":     {50, 2},
	"radio.del":     {20, 1},
	"radio.move":    {100, 10},
	"radio.rename":  {25, 20},
	"release":       {120, 0},
	"settle":        {4, 0},
	"sysctl":        {50, 15},
	"vif.add":       {60, 25},
	"vif.del":       {40, 5},
}

// checkKinds wants every kind of operation to have succeeded and to have failed,
// where it can, so that the test doesn't come to test nothing.
func (r *randomRun) checkKinds(t *testing.T) {
	t.Helper()
	succeeded, failed := map[string]int{}, map[string]int{}
	for _, o := range r.ops {
		if o.Errno == 0 {
			succeeded[o.Op]++
		} else {
			failed[o.Op]++
		}
	}
	for op, least := range randomLeast {
		if succeeded[op] < least.succeeded*r.n/5000 || failed[op] < least.failed*r.n/5000 {
			t.Errorf("%s succeeded %d times and failed %d times, want %d and %d of 5000", op,
				succeeded[op], failed[op], least.succeeded, least.failed)
		}
	}
	for op := range succeeded {
		if _, known := randomLeast[op]; !known {
			t.Errorf("nobody says how often %s has to succeed", op)
		}
	}
	t.Logf("succeeded: %v", succeeded)
	t.Logf("failed: %v", failed)
}
