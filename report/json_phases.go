// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"

	"github.com/nstrace/nstrace/analyze"
)

type (
	// jsonBirth is how a namespace came to be: what the others' births have, and
	// its phases.
	jsonBirth struct {
		jsonCreated
		// RequestNS is when it was asked for, from the namespace From; WaitNS is from
		// then until AtNS, when its set-up began.
		RequestNS *int64  `json:"request_ns"`
		WaitNS    *uint64 `json:"wait_ns"`
		From      *string `json:"from"`
		jsonSteps
	}
	// jsonSteps is what each subsystem took of a set-up or tear-down: how many
	// there were, the sum, how many more weren't recorded, and the slowest ones.
	// null if that isn't known.
	jsonSteps struct {
		Number  *uint64    `json:"steps_number"`
		TotalNS *uint64    `json:"steps_total_ns"`
		Skipped *uint64    `json:"steps_skipped"`
		Steps   []jsonStep `json:"steps"`
	}
	// jsonStep is one of them: Order is its place in the order, from 1 on.
	jsonStep struct {
		Order      int     `json:"order"`
		Subsystem  *string `json:"subsystem"`
		Module     *string `json:"module"`
		DurationNS uint64  `json:"duration_ns"`
		Errno      uint32  `json:"errno"`
		Error      *string `json:"error"`
	}
	// jsonRequest is one or more requests for namespaces that made none. Result is
	// "failed", "running" (at the end) or "unknown".
	jsonRequest struct {
		AtNS      int64   `json:"at_ns"`
		LastNS    int64   `json:"last_ns"`
		Count     uint64  `json:"count"`
		PID       uint32  `json:"pid"`
		Comm      string  `json:"comm"`
		From      *string `json:"from"`
		UserNS    *uint32 `json:"user_ns"`
		Result    string  `json:"result"`
		Errno     *uint32 `json:"errno"`
		Error     *string `json:"error"`
		LongestNS *uint64 `json:"longest_ns"`
	}
	// jsonSubsystem adds up what one set of pernet operations took.
	jsonSubsystem struct {
		Ops      *string   `json:"ops"`
		Init     *string   `json:"init"`
		Exit     *string   `json:"exit"`
		Module   *string   `json:"module"`
		SetUp    jsonShare `json:"set_up"`
		TearDown jsonShare `json:"tear_down"`
	}
	jsonShare struct {
		Times     uint64  `json:"times"`
		Failed    uint64  `json:"failed"`
		TotalNS   uint64  `json:"total_ns"`
		LongestNS uint64  `json:"longest_ns"`
		In        *string `json:"longest_in"`
	}
)

func (j converter) birth(b *analyze.Birth) *jsonBirth {
	if b == nil {
		return nil
	}
	r := &jsonBirth{
		jsonCreated: *j.created(b), RequestNS: j.atOrNull(b.Asked), From: id(b.Caller), jsonSteps: j.steps(b.Steps),
	}
	if b.Asked != 0 && !b.Inferred {
		waited := b.Wait()
		r.WaitNS = &waited
	}
	return r
}

// cleanup adds what is known of the batch in which n was torn down.
func (j converter) cleanup(d *jsonDestroyed, n *analyze.Netns) {
	if n.Put != nil && n.CleanupAt != 0 {
		queued := span(n.Put.At, n.CleanupAt)
		d.QueuedNS = &queued
	}
	if c := n.Cleanup; c != nil {
		d.Batch, d.jsonSteps = &c.Namespaces, j.steps(c.Steps)
	}
}

func (j converter) steps(s *analyze.Steps) (r jsonSteps) {
	if s == nil {
		return r
	}
	r = jsonSteps{Number: &s.Number, TotalNS: &s.Total, Skipped: &s.Skipped, Steps: []jsonStep{}}
	for _, x := range j.m.Slowest(s) {
		r.Steps = append(r.Steps, jsonStep{
			Order: x.Order, Subsystem: orNull(subsystem(x.Subsystem)), Module: orNull(owner(x.Subsystem)),
			DurationNS: x.Duration, Errno: x.Errno, Error: orNull(analyze.ErrnoName(x.Errno)),
		})
	}
	return r
}

// subsystem is what pernet operations are called, "" if that isn't known.
func subsystem(s *analyze.Subsystem) string { return cmp.Or(s.Ops, s.Init, s.Exit) }

// owner is the module they are of, "vmlinux" for the kernel itself, "" if that
// isn't known.
func owner(s *analyze.Subsystem) string {
	if s.BuiltIn {
		return "vmlinux"
	}
	return s.Module
}

func (j converter) subsystem(s *analyze.Subsystem) (jsonSubsystem, bool) {
	return jsonSubsystem{
		Ops: orNull(s.Ops), Init: orNull(s.Init), Exit: orNull(s.Exit), Module: orNull(owner(s)),
		SetUp: share(s.SetUp), TearDown: share(s.TearDown),
	}, len(j.o.Netns) == 0
}

func share(s analyze.Share) jsonShare {
	return jsonShare{Times: s.Times, Failed: s.Failed, TotalNS: s.Total, LongestNS: s.Longest, In: id(s.In)}
}

// requests are those that failed and those that weren't answered.
func (j converter) requests() []jsonRequest {
	out := each(j.m.Refusals, func(r *analyze.Refusal) (jsonRequest, bool) {
		return jsonRequest{
			AtNS: j.at(r.At), LastNS: j.at(r.Last), Count: r.Count, PID: r.PID, Comm: r.Comm, From: id(r.Caller),
			UserNS: orNull(r.UserNS), Result: string(analyze.ResultFailed), Errno: &r.Errno,
			Error: orNull(analyze.ErrnoName(r.Errno)), LongestNS: &r.Longest,
		}, j.o.any(r.Caller) && j.o.during(r.At, r.Last)
	})
	return append(out, each(j.m.Requests, func(r *analyze.Request) (jsonRequest, bool) {
		return jsonRequest{
			AtNS: j.at(r.At), LastNS: j.at(r.At), Count: 1, PID: r.PID, Comm: r.Comm, From: id(r.Caller),
			UserNS: orNull(r.UserNS), Result: string(r.Result),
		}, j.o.any(r.Caller) && j.o.when(r.At)
	})...)
}
