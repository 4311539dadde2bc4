// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/nstrace/nstrace/analyze"

type (
	// jsonRates is when packets came: so many in each of the times of step_ns that
	// follow each other from from_ns on. With since_ns or until_ns it has those times
	// that overlap what was asked for, each of them whole.
	jsonRates struct {
		FromNS int64  `json:"from_ns"`
		StepNS uint64 `json:"step_ns"`
		// ResolutionNS is the longest time over which packets were spread evenly,
		// because it is only known that they came in it.
		ResolutionNS uint64 `json:"resolution_ns"`
		// Null is for times of which counts may be missing.
		Packets []*uint64 `json:"packets"`
		Bytes   []*uint64 `json:"bytes"`
	}
	// jsonSilence is a time when an interface got nothing by any path: after steady
	// traffic, or while it was elsewhere.
	jsonSilence struct {
		Device  *string `json:"device"`
		Ifindex int32   `json:"ifindex"`
		FromNS  *int64  `json:"from_ns"`
		// UntilNS is null if nothing came any more.
		UntilNS   *int64          `json:"until_ns"`
		Steady    bool            `json:"steady"`
		Elsewhere []jsonResidence `json:"elsewhere"`
	}
)

func (j converter) rates(all *analyze.Rates) *jsonRates {
	r := all.Cut(j.o.Since, j.o.Until)
	if r == nil {
		return nil
	}
	out := &jsonRates{FromNS: j.at(r.From), StepNS: r.Step, ResolutionNS: r.Resolution}
	for i := range r.Packets {
		var packets, bytes *uint64
		if r.Known(i) {
			packets, bytes = &r.Packets[i], &r.Bytes[i]
		}
		out.Packets, out.Bytes = append(out.Packets, packets), append(out.Bytes, bytes)
	}
	return out
}

func (j converter) silence(s *analyze.Silence) (jsonSilence, bool) {
	r := jsonSilence{
		Device: orNull(s.Device.Name), Ifindex: s.Ifindex, FromNS: j.atOrNull(s.From), UntilNS: j.atOrNull(s.Until),
		Steady: s.Steady, Elsewhere: []jsonResidence{},
	}
	for _, x := range s.Elsewhere {
		r.Elsewhere = append(r.Elsewhere, jsonResidence{x.Netns.ID, j.atOrNull(x.From), j.atOrNull(x.Until)})
	}
	return r, j.o.during(s.From, s.Until)
}
