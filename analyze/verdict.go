// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/event"
)

// The rules of the verdict's statements.
const (
	ruleIncomplete = "recording-incomplete"
	ruleDamage     = "file-damaged"
	ruleLost       = "events-lost"
	ruleMissed     = "calls-missed"
	ruleReturns    = "returns-missed"
	ruleProbe      = "probe-missing"
	ruleSnapshot   = "snapshot-incomplete"
	ruleAudit      = "audit-differs"
	ruleOdd        = "events-unusable"
	ruleProblem    = "recorder-hindered"
)

// verdict says what the recording may have missed, worst first.
func (a *Analyzer) verdict() {
	a.verdictFile()
	a.verdictLoss()
	a.verdictProblems()
	a.verdictProbes()
	a.verdictSnapshots()
	slices.SortStableFunc(a.m.Verdict, func(x, y Statement) int {
		return cmp.Compare(rank(x.Severity), rank(y.Severity))
	})
}

func (a *Analyzer) say(s Severity, rule string, at uint64, format string, args ...any) {
	a.m.Verdict = append(a.m.Verdict, Statement{Severity: s, Rule: rule, At: at, Text: fmt.Sprintf(format, args...)})
}

// Clean reports whether nothing is known to be missing from the recording.
func (m *Model) Clean() bool {
	for _, s := range m.Verdict {
		if s.Severity != Info {
			return false
		}
	}
	return true
}

// verdictFile: is the file whole?
func (a *Analyzer) verdictFile() {
	m := &a.m
	cut := false
	for _, d := range m.Damage {
		if d.Truncated {
			cut = true
			continue
		}
		what := "a part of the file"
		if d.Length != 0 {
			what = fmt.Sprintf("%d bytes of the file", d.Length)
		}
		a.say(Error, ruleDamage, d.Time, "%s at offset %d could not be read (%s): what happened after %s is missing until the story goes on",
			what, d.Offset, EscapeText(d.Reason), m.Since(d.Time))
	}
	switch {
	case m.End == nil && cut:
		a.say(Error, ruleIncomplete, m.Ended, "the recording did not finish, or its file was cut: it tells what happened until %s", m.Since(m.Ended))
	case m.End == nil:
		a.say(Error, ruleIncomplete, m.Ended, "the recording has no end: it tells what happened until %s", m.Since(m.Ended))
	case m.End.Error != "":
		a.say(Error, ruleIncomplete, m.End.Time, "the recording was ended by an error at %s: %s", m.Since(m.End.Time), EscapeText(m.End.Error))
	case m.End.Reason == "disk-full":
		a.say(Error, ruleIncomplete, m.End.Time, "the recording was ended at %s because the disk was full", m.Since(m.End.Time))
	}
}

// gaps are the records that sequence numbers prove missing, by ring.
func (a *Analyzer) gaps() map[string]uint64 {
	out := make(map[string]uint64)
	for _, l := range a.m.Losses {
		out[l.Ring] += l.Count
	}
	return out
}

// countLost adds up what is known to be missing.
func (a *Analyzer) countLost() {
	gaps := a.gaps()
	if led := a.m.Ledger; led != nil {
		for _, r := range led.Rings {
			gaps[r.Name] = max(gaps[r.Name], r.Lost)
		}
		a.m.Lost = led.Unwritten + led.Undecoded
	}
	for _, n := range gaps {
		a.m.Lost += n
	}
	for _, d := range a.m.Damage {
		switch {
		case d.Records > 0:
			a.m.Lost += uint64(d.Records)
		case d.Records < 0 && !d.Truncated:
			a.m.LostMore = true
		}
	}
}

// verdictLoss: which records are known to be missing?
func (a *Analyzer) verdictLoss() {
	m := &a.m
	gaps := a.gaps()
	for _, l := range m.Losses {
		from := "the beginning"
		if l.From != 0 {
			from = m.Since(l.From)
		}
		a.say(lossSeverity(l.Ring), ruleLost, l.From, "%s lost on CPU %d between %s and %s",
			lostRecords(l.Ring, l.Count), l.CPU, from, m.Since(l.To))
	}
	led := m.Ledger
	if led == nil {
		a.say(Warning, ruleIncomplete, 0, "the recording has no ledger of losses: what it missed is unknown")
		return
	}
	for _, r := range led.Rings {
		if r.Lost > gaps[r.Name] {
			a.say(lossSeverity(r.Name), ruleLost, 0, "%s lost at a time that is not known: the ring of %d bytes was full",
				lostRecords(r.Name, r.Lost-gaps[r.Name]), r.Size)
		}
	}
	if led.Unwritten != 0 {
		since := "of what happened at a time that is not known"
		if led.UnwrittenFrom != 0 {
			since = "of what happened after " + m.Since(led.UnwrittenFrom)
		}
		a.say(Error, ruleLost, led.UnwrittenFrom, "%s %s could not be written to the file", plural(led.Unwritten, "record"), since)
	}
	if led.Undecoded != 0 {
		a.say(Error, ruleLost, 0, "%s arrived but made no sense", plural(led.Undecoded, "record"))
	}
	if led.CallsDropped != 0 {
		a.say(Warning, ruleLost, 0, "%s could not be remembered: their duration, and what was within them, is unknown", plural(led.CallsDropped, "running call"))
	}
	if led.FlowsDropped != 0 {
		a.say(Warning, ruleLost, 0, "%s delivered but not counted: the table of flows was full", plural(led.FlowsDropped, "packet"))
	}
	if a.odd != 0 {
		a.say(Warning, ruleOdd, 0, "%s named nothing they could be about", plural(a.odd, "event"))
	}
}

// The names of the sequences of records of subsystems' steps and of tasks.
const (
	ringSteps = "steps"
	ringTasks = "tasks"
)

func lossSeverity(ring string) Severity {
	if ring == "packets" || ring == ringSteps || ring == ringTasks {
		return Warning
	}
	return Error
}

// lostRecords says what is missing from a ring.
func lostRecords(ring string, n uint64) string {
	switch ring {
	case ringSteps:
		return plural(n, "record") + " of what each subsystem took of a set-up or tear-down"
	case ringTasks:
		return plural(n, "record") + " of processes that came into namespaces or left them"
	}
	return plural(n, EscapeText(ring)+" event")
}

// verdictProblems: what kept the recorder from seeing everything?
func (a *Analyzer) verdictProblems() {
	if a.m.Ledger == nil {
		return
	}
	for _, p := range a.m.Ledger.Problems {
		remedy := ""
		if p.Remedy != "" {
			remedy = "; " + EscapeText(p.Remedy)
		}
		a.say(Warning, ruleProblem, 0, "%s%s", EscapeText(p.What), remedy)
	}
}

// verdictFailed tells each cause of failure once, with the probes it is one for.
func (a *Analyzer) verdictFailed() {
	var causes []string
	failed := map[string][]event.ProbeLedger{}
	for _, p := range a.m.Ledger.Probes {
		if p.Status != event.StatusFailed {
			continue
		}
		if failed[p.Cause()] == nil {
			causes = append(causes, p.Cause())
		}
		failed[p.Cause()] = append(failed[p.Cause()], p)
	}
	for _, cause := range causes {
		probes := failed[cause]
		what, reason, them := "probe", "", "it"
		if len(probes) > 1 {
			what, them = "probes", "them"
		}
		if r := probes[0].Reason; r != "" {
			reason = " (" + EscapeText(r) + ")"
		}
		var names, loses []string
		for _, p := range probes {
			names = append(names, Escape(p.Name))
			if p.Loses != "" {
				loses = append(loses, EscapeText(p.Loses))
			}
		}
		without := ""
		if len(loses) > 0 {
			without = "; without " + them + ": " + strings.Join(loses, "; ")
		}
		a.say(Warning, ruleProbe, 0, "%s %s could not be attached%s%s", what, list(names), reason, without)
	}
}

// verdictProbes: what was not hooked, and what did a hook miss?
func (a *Analyzer) verdictProbes() {
	if a.m.Ledger == nil {
		return
	}
	a.verdictModules()
	a.verdictFailed()
	for _, p := range a.m.Ledger.Probes {
		reason := ""
		if p.Reason != "" {
			reason = " (" + EscapeText(p.Reason) + ")"
		}
		loses := ""
		if p.Loses != "" {
			loses = "; without it: " + EscapeText(p.Loses)
		}
		if p.Status == event.StatusAbsent && p.Needs == "" {
			a.say(Info, ruleProbe, 0, "probe %s does not exist on this kernel%s%s", Escape(p.Name), reason, loses)
		}
		if p.Lost != 0 && !a.ringsLost() {
			a.say(Error, ruleLost, 0, "probe %s lost %s for want of ring space", Escape(p.Name), plural(p.Lost, "record"))
		}
		if p.Status != event.StatusAttached {
			continue
		}
		a.verdictMissed(&p)
	}
}

// verdictMissed: which calls and returns of a probed function were not seen?
func (a *Analyzer) verdictMissed(p *event.ProbeLedger) {
	var returns uint64
	if p.ReturnsMissed != nil {
		returns = *p.ReturnsMissed
	}
	if returns != 0 {
		a.say(Error, ruleReturns, 0, "%s of %s not seen: when those calls ended, and how, is unknown", plural(returns, "return"), Escape(p.Name))
	}
	if p.Missed == nil || p.Returns != nil && p.ReturnsMissed == nil {
		a.m.Unknown = append(a.m.Unknown, p.Name)
	}
	// The kernel's count has those returns, too.
	if p.Missed != nil && *p.Missed > returns {
		a.say(Error, ruleMissed, 0, "the kernel let %s of %s pass without running the probe", plural(*p.Missed-returns, "call"), Escape(p.Name))
	}
}

// verdictModules tells once for each module, not for each of its probes, that it
// wasn't there all the time.
func (a *Analyzer) verdictModules() {
	type account struct {
		absent, gone, late  []string
		reason              string
		goneAt, came, since uint64
	}
	accounts := map[string]*account{}
	for _, p := range a.m.Ledger.Probes {
		if p.Needs == "" {
			continue
		}
		x := accounts[p.Needs]
		if x == nil {
			x = &account{}
			accounts[p.Needs] = x
		}
		x.came = max(x.came, p.ModuleCame)
		switch {
		case p.Status == event.StatusAbsent:
			x.absent = append(x.absent, Escape(p.Name))
			x.reason = EscapeText(p.Reason)
		case p.Status == event.StatusAttached && p.Since != 0:
			x.late = append(x.late, Escape(p.Name))
			x.since = max(x.since, p.Since)
		case p.Status == event.StatusAttached && p.ModuleGone != 0:
			x.gone = append(x.gone, Escape(p.Name))
			x.goneAt = p.ModuleGone
		}
	}
	for _, module := range slices.Sorted(maps.Keys(accounts)) {
		x := accounts[module]
		switch {
		case len(x.gone) != 0:
			a.say(Error, ruleProbe, x.goneAt, "the module %s was unloaded before %s: nothing was seen by %s after that", Escape(module), a.m.Since(x.goneAt), list(x.gone))
		case len(x.absent) != 0 && x.came != 0:
			a.say(Error, ruleProbe, x.came, "the module %s was loaded before %s, while recording; nothing of what it did was seen by %s (--load-modules loads it first)", Escape(module), a.m.Since(x.came), list(x.absent))
		case len(x.late) != 0:
			a.say(Warning, ruleProbe, x.came, "the module %s was loaded before %s, while recording, and hooked by %s: until then nothing of it was seen by %s (--load-modules loads it first)", Escape(module), a.m.Since(x.came), a.m.Since(x.since), list(x.late))
		case len(x.absent) != 0:
			a.say(Info, ruleProbe, 0, "not probed: %s of the module %s (%s)", list(x.absent), Escape(module), x.reason)
		}
	}
}

func (a *Analyzer) ringsLost() bool {
	for _, r := range a.m.Ledger.Rings {
		if r.Lost != 0 {
			return true
		}
	}
	return len(a.m.Losses) != 0
}

// verdictSnapshots: was the beginning known, and does the end agree?
func (a *Analyzer) verdictSnapshots() {
	m := &a.m
	if !m.Opening {
		begins := ""
		if len(m.Damage) != 0 && a.firstEvent != 0 {
			begins = ", which begins at " + m.Since(a.firstEvent)
		}
		a.say(Warning, ruleSnapshot, 0, "the recording has no opening snapshot: what was there before it%s is known only as far as something happened to it", begins)
	}
	if !m.Closing && m.End != nil {
		a.say(Warning, ruleSnapshot, 0, "the recording has no closing snapshot: what it says of the end could not be checked")
	}
	seen := make(map[string]bool)
	for _, e := range m.SnapshotErrors {
		if !seen[e] {
			seen[e] = true
			a.say(Info, ruleSnapshot, 0, "a snapshot could not look everywhere: %s", EscapeText(e))
		}
	}
	if n := len(m.Audit.Differences); n != 0 {
		var first []string
		for _, d := range m.Audit.Differences[:min(n, 3)] {
			first = append(first, fmt.Sprintf("%s: %s, not %s", d.What, d.Expected, d.Reconstructed))
		}
		note := ""
		if m.Audit.Note != "" {
			note = " (" + m.Audit.Note + ")"
		}
		a.say(Error, ruleAudit, 0, "at the end the kernel disagrees with this report in %s of %d%s: %s",
			plural(uint64(n), "point"), m.Audit.Compared, note, strings.Join(first, "; "))
	}
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func rank(s Severity) int {
	switch s {
	case Error:
		return 0
	case Warning:
		return 1
	}
	return 2
}
