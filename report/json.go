// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

// Schema is the name of the JSON report's schema. Fields are added freely, never
// renamed or changed in meaning.
const Schema = "nstrace.report/1"

// The schema's types. Times are nanoseconds since the recording began; null is
// what isn't known.
type (
	jsonReport struct {
		Schema     string        `json:"schema"`
		Selection  jsonSelection `json:"selection"`
		Recording  jsonRecording `json:"recording"`
		Namespaces []jsonNetns   `json:"namespaces"`
		// Folded counts lives that are in none of the lists: see --all.
		Folded   []jsonFold    `json:"folded"`
		Wiphys   []jsonWiphy   `json:"wiphys"`
		Moves    []jsonMove    `json:"moves"`
		Asks     []jsonAsk     `json:"netlink_requests"`
		AskFolds []jsonAskFold `json:"netlink_requests_folded"`
		Wdevs    []jsonWdev    `json:"wdevs"`
		Vifs     []jsonVif     `json:"vifs"`
		Renames  []jsonRename  `json:"renames"`
		Pernet   []jsonPernet  `json:"pernet"`
		// Requests are those for namespaces that made none.
		Requests []jsonRequest `json:"requests"`
		// NsidRefusals are requests for namespace numbers that failed.
		NsidRefusals []jsonNsidRefusal `json:"nsid_refusals"`
		Subsystems   []jsonSubsystem   `json:"subsystems"`
		Findings     []jsonFinding     `json:"findings"`
		Audit        jsonAudit         `json:"audit"`
		Verdict      []jsonStatement   `json:"verdict"`
	}
	// jsonSelection is what the report was restricted to: null and [] are no
	// restriction.
	jsonSelection struct {
		SinceNS    *int64   `json:"since_ns"`
		UntilNS    *int64   `json:"until_ns"`
		Namespaces []string `json:"namespaces"`
	}
	jsonRecording struct {
		Host       *string  `json:"host"`
		Kernel     *string  `json:"kernel"`
		Arch       *string  `json:"arch"`
		Started    *string  `json:"started"`
		DurationNS uint64   `json:"duration_ns"`
		Command    []string `json:"command"`
		Complete   bool     `json:"complete"`
		EndReason  *string  `json:"end_reason"`
		ExitStatus *int     `json:"exit_status"`
		Delivery   *string  `json:"delivery"`
		// Packets is null unless packets were recorded with bytes, or not all.
		Packets    *jsonPackets `json:"packets"`
		Tool       *string      `json:"tool"`
		Events     uint64       `json:"events"`
		TaskEvents uint64       `json:"task_events"`
		Lost       *uint64      `json:"lost"`
		Clean      bool         `json:"clean"`
		Unknown    []string     `json:"missed_unknown"`
		Unseen     []string     `json:"unseen_holders"`
		Probes     []jsonProbe  `json:"probes"`
		Rings      []jsonRing   `json:"rings"`
		Losses     []jsonLoss   `json:"losses"`
		Damage     []jsonHole   `json:"damage"`

		// Problems are what else kept the recorder from seeing everything.
		Problems []jsonProblem `json:"problems"`
	}
	jsonPackets struct {
		Snaplen    uint32   `json:"snaplen"`
		Namespaces []string `json:"namespaces"`
		Devices    []string `json:"devices"`
		Ethertypes []uint16 `json:"ethertypes"`
	}
	jsonProblem struct {
		What   string  `json:"what"`
		Remedy *string `json:"remedy"`
	}
	jsonProbe struct {
		Name     string  `json:"name"`
		Hook     *string `json:"hook"`
		Function *string `json:"function"`
		Module   *string `json:"module"`
		Status   string  `json:"status"`
		Reason   *string `json:"reason"`
		Loses    *string `json:"loses"`
		Hits     uint64  `json:"hits"`
		Lost     uint64  `json:"lost"`
		Missed   *uint64 `json:"missed"`
		Returns  *uint64 `json:"returns"`
		// ReturnsMissed, like Returns, is null for a probe that looks at entries
		// only.
		ReturnsMissed *uint64 `json:"returns_missed"`
		CallsDropped  uint64  `json:"calls_dropped"`
		Open          uint64  `json:"open"`
		Strays        uint64  `json:"strays"`
	}
	// jsonRing is what came through a ring, and what didn't.
	jsonRing struct {
		Name     string `json:"name"`
		Size     uint64 `json:"size"`
		Received uint64 `json:"received"`
		Lost     uint64 `json:"lost"`
	}
	jsonLoss struct {
		Ring   string `json:"ring"`
		CPU    uint32 `json:"cpu"`
		FromNS *int64 `json:"from_ns"`
		ToNS   *int64 `json:"to_ns"`
		Count  uint64 `json:"count"`
	}
	jsonHole struct {
		Offset    int64  `json:"offset"`
		Length    int64  `json:"length"`
		AfterNS   *int64 `json:"after_ns"`
		Truncated bool   `json:"truncated"`
		Reason    string `json:"reason"`
	}
	jsonNetns struct {
		ID          string          `json:"id"`
		Label       string          `json:"label"`
		Inum        *uint32         `json:"inum"`
		Cookie      *uint64         `json:"cookie"`
		Names       []string        `json:"names"`
		NameSpans   []jsonName      `json:"name_spans"`
		Initial     bool            `json:"initial"`
		Origin      string          `json:"origin"`
		OwnerUserNS *uint32         `json:"owner_user_ns"`
		Created     *jsonBirth      `json:"created"`
		PutNS       *int64          `json:"put_ns"`
		Destroyed   *jsonDestroyed  `json:"destroyed"`
		Holders     []event.Holder  `json:"holders"`
		Held        *jsonHeld       `json:"held"`
		References  *uint32         `json:"references"`
		NSIDs       []jsonNSID      `json:"nsids"`
		Devices     []jsonStay      `json:"devices"`
		Wiphys      []jsonWiphyStay `json:"wiphys"`
		Delivery    []jsonDelivery  `json:"delivery"`
		Silences    []jsonSilence   `json:"silences"`
		Dropped     []jsonDrop      `json:"dropped"`
		jsonInside
	}
	jsonHeld struct {
		Tasks       uint32 `json:"tasks"`
		Files       uint32 `json:"files"`
		Mounts      uint32 `json:"mounts"`
		OtherMounts uint32 `json:"other_mounts"`
	}
	jsonNSID struct {
		ID     int32   `json:"id"`
		Inum   *uint32 `json:"inum"`
		Cookie *uint64 `json:"cookie"`
	}
	jsonName struct {
		Name    string `json:"name"`
		Path    string `json:"path"`
		FromNS  *int64 `json:"from_ns"`
		UntilNS *int64 `json:"until_ns"`
	}
	jsonCreated struct {
		AtNS     int64   `json:"at_ns"`
		PID      uint32  `json:"pid"`
		Comm     string  `json:"comm"`
		SetupNS  *uint64 `json:"setup_ns"`
		Inferred bool    `json:"inferred"`
		Errno    uint32  `json:"errno"`
		Error    *string `json:"error"`
	}
	jsonDestroyed struct {
		AtNS        int64   `json:"at_ns"`
		PutAtNS     *int64  `json:"put_at_ns"`
		CleanupNS   *uint64 `json:"cleanup_ns"`
		CleanupAtNS *int64  `json:"cleanup_at_ns"`
		Inferred    bool    `json:"inferred"`
		// QueuedNS is from the last put to the clean-up, which was of Batch
		// namespaces.
		QueuedNS *uint64 `json:"queued_ns"`
		Batch    *int    `json:"batch"`
		jsonSteps
	}
	jsonStay struct {
		Ifindex  *int32    `json:"ifindex"`
		Name     *string   `json:"name"`
		Names    []string  `json:"names"`
		Kind     *string   `json:"kind"`
		Iftype   *string   `json:"iftype"`
		Wiphy    *string   `json:"wiphy"`
		WiphyIdx *int32    `json:"wiphy_index"`
		Peer     *jsonPeer `json:"peer"`
		FromNS   *int64    `json:"from_ns"`
		UntilNS  *int64    `json:"until_ns"`
		Arrived  string    `json:"arrived"`
		Left     *string   `json:"left"`
		Inferred bool      `json:"inferred"`
	}
	jsonWiphyStay struct {
		Name     *string `json:"name"`
		Index    *int32  `json:"index"`
		FromNS   *int64  `json:"from_ns"`
		UntilNS  *int64  `json:"until_ns"`
		Arrived  string  `json:"arrived"`
		Left     *string `json:"left"`
		Inferred bool    `json:"inferred"`
	}
	jsonDelivery struct {
		Device           *string         `json:"device"`
		Ifindex          int32           `json:"ifindex"`
		Path             string          `json:"path"`
		Packets          uint64          `json:"packets"`
		Bytes            uint64          `json:"bytes"`
		Merged           uint64          `json:"merged"`
		Relayed          *uint64         `json:"relayed"`
		RelayedBytes     *uint64         `json:"relayed_bytes"`
		ControlPort      *uint64         `json:"control_port"`
		ControlPortBytes *uint64         `json:"control_port_bytes"`
		Ethertypes       []jsonEthertype `json:"ethertypes"`
		RxPackets        *uint64         `json:"rx_packets"`
		RxBytes          *uint64         `json:"rx_bytes"`
		// Rates is null if nothing is known of when the packets came.
		Rates *jsonRates `json:"rates"`
	}
	jsonEthertype struct {
		Ethertype *uint16 `json:"ethertype"`
		Name      string  `json:"name"`
		Packets   uint64  `json:"packets"`
		Bytes     uint64  `json:"bytes"`
	}
	jsonDrop struct {
		Device  *string `json:"device"`
		Ifindex int32   `json:"ifindex"`
		// Reason is the kernel's, or where it gives none the function that dropped them,
		// which then is in Function, too.
		Reason   *string `json:"reason"`
		Function *string `json:"function"`
		Packets  uint64  `json:"packets"`
		Bytes    uint64  `json:"bytes"`
	}
	jsonWiphy struct {
		Name      *string         `json:"name"`
		Names     []string        `json:"names"`
		Index     *int32          `json:"index"`
		BornIn    *string         `json:"born_in"`
		Driver    *string         `json:"driver"`
		CanSwitch *bool           `json:"can_switch"`
		Created   *jsonCreated    `json:"created"`
		EndedNS   *int64          `json:"ended_ns"`
		Residence []jsonResidence `json:"residence"`
	}
	jsonResidence struct {
		Namespace string `json:"namespace"`
		FromNS    *int64 `json:"from_ns"`
		UntilNS   *int64 `json:"until_ns"`
	}
	jsonMove struct {
		AtNS       int64        `json:"at_ns"`
		DoneNS     *int64       `json:"done_ns"`
		What       string       `json:"what"`
		Name       *string      `json:"name"`
		NewName    *string      `json:"new_name"`
		Ifindex    *int32       `json:"ifindex"`
		NewIfindex *int32       `json:"new_ifindex"`
		WiphyIndex *int32       `json:"wiphy_index"`
		From       *string      `json:"from"`
		To         *string      `json:"to"`
		Result     string       `json:"result"`
		Errno      *uint32      `json:"errno"`
		Error      *string      `json:"error"`
		PID        uint32       `json:"pid"`
		Comm       string       `json:"comm"`
		Cause      string       `json:"cause"`
		Rollback   bool         `json:"rollback"`
		Request    *jsonAskedBy `json:"request"`
	}
	jsonVif struct {
		AtNS       int64        `json:"at_ns"`
		Name       *string      `json:"name"`
		Iftype     *string      `json:"iftype"`
		Wiphy      *string      `json:"wiphy"`
		WiphyIndex *int32       `json:"wiphy_index"`
		Netdev     bool         `json:"netdev"`
		Namespace  *string      `json:"namespace"`
		Caller     *string      `json:"caller"`
		Errno      uint32       `json:"errno"`
		Error      *string      `json:"error"`
		PID        uint32       `json:"pid"`
		Comm       string       `json:"comm"`
		RemovedNS  *int64       `json:"removed_ns"`
		Request    *jsonAskedBy `json:"request"`
	}
	jsonRename struct {
		AtNS      int64        `json:"at_ns"`
		What      string       `json:"what"`
		Name      *string      `json:"name"`
		NewName   *string      `json:"new_name"`
		Namespace *string      `json:"namespace"`
		Errno     uint32       `json:"errno"`
		Error     *string      `json:"error"`
		PID       uint32       `json:"pid"`
		Comm      string       `json:"comm"`
		Request   *jsonAskedBy `json:"request"`
	}
	jsonPernet struct {
		AtNS   int64   `json:"at_ns"`
		Action string  `json:"action"`
		Ops    *string `json:"ops"`
		Fn     *string `json:"fn"`
		Module *string `json:"module"`
		// AskedNS is when it was asked for; from then until AtNS it waited, or was
		// still Waiting at the end.
		AskedNS    *int64  `json:"asked_ns"`
		WaitNS     *uint64 `json:"wait_ns"`
		Waiting    bool    `json:"waiting"`
		DurationNS *uint64 `json:"duration_ns"`
		Namespaces *uint64 `json:"namespaces"`
		Errno      *uint32 `json:"errno"`
		Error      *string `json:"error"`
		PID        uint32  `json:"pid"`
		Comm       string  `json:"comm"`
	}
	jsonFinding struct {
		Rule     string  `json:"rule"`
		Severity string  `json:"severity"`
		Subject  string  `json:"subject"`
		Text     string  `json:"text"`
		Advice   *string `json:"advice"`
		AtNS     *int64  `json:"at_ns"`
	}
	jsonAudit struct {
		Compared    int              `json:"compared"`
		Differences []jsonDifference `json:"differences"`
		Unverified  []string         `json:"unverified"`
		Note        *string          `json:"note"`
	}
	jsonDifference struct {
		What          string `json:"what"`
		Expected      string `json:"expected"`
		Reconstructed string `json:"reconstructed"`
	}
	jsonStatement struct {
		Severity string `json:"severity"`
		Rule     string `json:"rule"`
		Text     string `json:"text"`
		AtNS     *int64 `json:"at_ns"`
	}
)

// JSON writes the report of m to w in schema [Schema].
func JSON(w io.Writer, m *analyze.Model, o Options) error {
	j := converter{m: m, o: o}
	r := jsonReport{
		Schema:       Schema,
		Selection:    j.selection(),
		Recording:    j.recording(),
		Namespaces:   each(m.Namespaces, j.netns),
		Folded:       each(m.Folds, j.fold),
		Wiphys:       each(m.Wiphys, j.wiphy),
		Moves:        each(m.Moves, j.move),
		Asks:         each(m.Asks, j.ask),
		AskFolds:     each(m.AskFolds, j.askFold),
		Wdevs:        each(m.Wdevs, j.wdev),
		Vifs:         each(m.Vifs, j.vif),
		Renames:      each(m.Renames, j.rename),
		Pernet:       each(m.Pernet, j.pernet),
		Requests:     j.requests(),
		NsidRefusals: each(m.NsidRefusals, j.nsidRefusal),
		Subsystems:   each(m.Subsystems, j.subsystem),
		Findings:     each(m.Findings, j.finding),
		Audit:        j.audit(),
		Verdict:      each(m.Verdict, j.statement),
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// each converts what the converter lets through; the result is never nil.
func each[T, J any](in []T, convert func(T) (J, bool)) []J {
	out := []J{}
	for _, x := range in {
		if j, ok := convert(x); ok {
			out = append(out, j)
		}
	}
	return out
}

// orNull is null for a zero value: what isn't known.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// converter turns the model into the schema's types.
type converter struct {
	m *analyze.Model
	o Options
}

// at is a time since the recording began.
func (j converter) at(t uint64) int64 { return int64(t) - int64(j.m.Began) }

// atOrNull is the same, null for an unknown time.
func (j converter) atOrNull(t uint64) *int64 {
	if t == 0 {
		return nil
	}
	v := j.at(t)
	return &v
}

func (j converter) selection() jsonSelection {
	s := jsonSelection{SinceNS: j.atOrNull(j.o.Since), UntilNS: j.atOrNull(j.o.Until), Namespaces: []string{}}
	for _, n := range j.o.Netns {
		s.Namespaces = append(s.Namespaces, n.ID)
	}
	return s
}

// started is the wall time at which the recording began, zero if unknown.
func started(m *analyze.Model) time.Time {
	c := m.Recording.Clock
	if c.Wall == 0 {
		return time.Time{}
	}
	return time.Unix(0, c.Wall+int64(m.Began)-int64(c.Boot)).UTC()
}

func (j converter) recording() jsonRecording {
	m := j.m
	r := jsonRecording{
		Host: orNull(m.Recording.Host), Kernel: orNull(m.Recording.Kernel), Arch: orNull(m.Recording.Arch),
		DurationNS: span(m.Began, m.Ended), Command: append([]string{}, m.Recording.Command...),
		Complete: m.End != nil, Delivery: orNull(m.Recording.Delivery), Tool: orNull(m.Recording.Tool),
		Events: m.Events, TaskEvents: m.TaskEvents, Clean: m.Clean(), Unknown: append([]string{}, m.Unknown...), Unseen: append([]string{}, m.Unseen...),
		Probes: []jsonProbe{}, Rings: []jsonRing{}, Losses: []jsonLoss{}, Damage: []jsonHole{}, Problems: []jsonProblem{},
	}
	if t := started(m); !t.IsZero() {
		r.Started = orNull(t.Format(time.RFC3339Nano))
	}
	if p := m.Recording.Packets; p != nil {
		r.Packets = &jsonPackets{p.Snaplen, append([]string{}, p.Netns...), append([]string{}, p.Devices...), append([]uint16{}, p.Ethertypes...)}
	}
	if m.End != nil {
		r.EndReason, r.ExitStatus = orNull(m.End.Reason), m.End.ExitStatus
	}
	if (m.Ledger != nil || m.Lost != 0) && !m.LostMore {
		lost := m.Lost
		r.Lost = &lost
	}
	if m.Ledger != nil {
		for _, p := range m.Ledger.Problems {
			r.Problems = append(r.Problems, jsonProblem{p.What, orNull(p.Remedy)})
		}
		for _, p := range m.Ledger.Probes {
			r.Probes = append(r.Probes, jsonProbe{
				Name: p.Name, Hook: orNull(p.Hook), Function: orNull(p.Function), Module: orNull(p.Module),
				Status: string(p.Status), Reason: orNull(p.Reason), Loses: orNull(p.Loses),
				Hits: p.Hits, Lost: p.Lost, Missed: p.Missed,
				Returns: p.Returns, ReturnsMissed: p.ReturnsMissed, CallsDropped: p.CallsDropped, Open: p.Open, Strays: p.Strays,
			})
		}
	}
	if m.Ledger != nil {
		for _, x := range m.Ledger.Rings {
			r.Rings = append(r.Rings, jsonRing(x))
		}
	}
	for _, l := range m.Losses {
		r.Losses = append(r.Losses, jsonLoss{l.Ring, l.CPU, j.atOrNull(l.From), j.atOrNull(l.To), l.Count})
	}
	for _, d := range m.Damage {
		r.Damage = append(r.Damage, jsonHole{d.Offset, d.Length, j.atOrNull(d.Time), d.Truncated, d.Reason})
	}
	return r
}

// held is null where holders weren't counted, or there are none to be seen.
func held(n *analyze.Netns) *jsonHeld {
	if n.Held == (event.HoldCounts{}) {
		return nil
	}
	return &jsonHeld{n.Held.Tasks, n.Held.Files, n.Held.Mounts, n.Held.OtherMounts}
}

func (j converter) netns(n *analyze.Netns) (jsonNetns, bool) {
	r := jsonNetns{
		ID: n.ID, Label: n.Label(), Inum: orNull(n.Inum), Cookie: orNull(n.Cookie),
		Names: append([]string{}, n.AllNames()...), NameSpans: []jsonName{},
		Initial: n.Initial, Origin: string(n.Origin), OwnerUserNS: orNull(n.OwnerUserNS),
		Holders: append([]event.Holder{}, n.Holders...), Held: held(n), References: orNull(n.References),
		NSIDs: each(n.NSIDs, func(id event.NSID) (jsonNSID, bool) { return jsonNSID{id.ID, orNull(id.Inum), orNull(id.Cookie)}, true }), Delivery: []jsonDelivery{},
	}
	for _, x := range n.Names {
		r.NameSpans = append(r.NameSpans, jsonName{x.Name, x.Path, j.atOrNull(x.From), j.atOrNull(x.Until)})
	}
	r.Created = j.birth(n.Birth)
	if n.Put != nil {
		r.PutNS = j.atOrNull(n.Put.At)
	}
	if n.Ended != 0 && !n.Failed() {
		d := &jsonDestroyed{AtNS: j.at(n.Ended), PutAtNS: r.PutNS, CleanupAtNS: j.atOrNull(n.CleanupAt), Inferred: n.EndInferred}
		if n.CleanupAt != 0 {
			took := span(n.CleanupAt, n.Ended)
			d.CleanupNS = &took
		}
		j.cleanup(d, n)
		r.Destroyed = d
	}
	r.jsonInside = j.inside(n)
	r.Devices = each(n.Stays, j.stay)
	r.Wiphys = each(n.WiphyStays, j.wiphyStay)
	for _, d := range n.Delivery {
		r.Delivery = append(r.Delivery, j.delivery(d))
	}
	r.Dropped = each(n.Drops, func(d *analyze.Drop) (jsonDrop, bool) {
		x := jsonDrop{orNull(d.Device.Name), d.Ifindex, orNull(d.Reason), nil, d.Packets, d.Bytes}
		if d.Function {
			x.Function = x.Reason
		}
		return x, true
	})
	r.Silences = each(n.Silences, j.silence)
	return r, j.o.chosen(n)
}

func (j converter) created(b *analyze.Birth) *jsonCreated {
	if b == nil {
		return nil
	}
	return &jsonCreated{
		AtNS: j.at(b.At), PID: b.PID, Comm: b.Comm, SetupNS: orNull(b.Setup), Inferred: b.Inferred,
		Errno: b.Errno, Error: orNull(analyze.ErrnoName(b.Errno)),
	}
}

func (j converter) stay(s *analyze.Stay) (jsonStay, bool) {
	d := s.Device
	r := jsonStay{
		Ifindex: orNull(s.Ifindex), Name: orNull(s.Name()), Names: append([]string{}, s.Names...),
		Kind: orNull(d.Kind), Iftype: orNull(analyze.IftypeName(d.Iftype)), Peer: otherEnd(d),
		FromNS: j.atOrNull(s.From), UntilNS: j.atOrNull(s.Until),
		Arrived: string(s.Arrived), Left: orNull(string(s.Left)), Inferred: s.Inferred || s.EndInferred,
	}
	if d.Wiphy != nil {
		r.Wiphy = orNull(d.Wiphy.Name)
		r.WiphyIdx = index(d.Wiphy)
	}
	return r, j.o.during(s.From, s.Until)
}

// index is a wiphy's, null if unknown.
func index(w *analyze.Wiphy) *int32 {
	if w == nil || w.Index < 0 {
		return nil
	}
	i := w.Index
	return &i
}

func (j converter) wiphyStay(s *analyze.WiphyStay) (jsonWiphyStay, bool) {
	return jsonWiphyStay{
		Name: orNull(s.Wiphy.Name), Index: index(s.Wiphy), FromNS: j.atOrNull(s.From), UntilNS: j.atOrNull(s.Until),
		Arrived: string(s.Arrived), Left: orNull(string(s.Left)), Inferred: s.Inferred || s.EndInferred,
	}, j.o.during(s.From, s.Until)
}

func (j converter) wiphy(w *analyze.Wiphy) (jsonWiphy, bool) {
	r := jsonWiphy{
		Name: orNull(w.Name), Names: append([]string{}, w.Names...), Index: index(w), BornIn: id(w.BornIn),
		Driver: orNull(w.Driver), CanSwitch: w.CanSwitch,
		Created: j.created(w.Birth), EndedNS: j.atOrNull(w.Ended), Residence: []jsonResidence{},
	}
	in := []*analyze.Netns{w.BornIn}
	for _, s := range w.Stays {
		r.Residence = append(r.Residence, jsonResidence{s.Netns.ID, j.atOrNull(s.From), j.atOrNull(s.Until)})
		in = append(in, s.Netns)
	}
	return r, j.o.any(in...)
}

// id is a namespace's, null for an unknown one.
func id(n *analyze.Netns) *string {
	if n == nil {
		return nil
	}
	return &n.ID
}

func (j converter) move(m *analyze.Move) (jsonMove, bool) {
	r := jsonMove{
		AtNS: j.at(m.At), DoneNS: j.atOrNull(m.Done), What: "wiphy", Name: orNull(m.Name), NewName: orNull(m.NewName),
		Ifindex: orNull(m.Ifindex), NewIfindex: orNull(m.NewIfindex), From: id(m.From), To: id(m.To),
		Result: string(m.Result), PID: m.PID, Comm: m.Comm, Cause: string(m.Cause), Rollback: m.Rollback,
		Request: j.askedBy(m.Asked),
	}
	w := m.Wiphy
	if m.Device != nil {
		r.What, w = "netdev", m.Device.Wiphy
	}
	r.WiphyIndex = index(w)
	r.Errno, r.Error = outcome(m.Result, m.Errno)
	return r, j.o.any(m.From, m.To) && j.o.when(m.At)
}

func (j converter) vif(v *analyze.Vif) (jsonVif, bool) {
	r := jsonVif{
		AtNS: j.at(v.At), Name: orNull(v.Name), Iftype: orNull(analyze.IftypeName(v.Iftype)), WiphyIndex: index(v.Wiphy),
		Netdev: v.Device != nil, Namespace: id(v.Netns), Caller: id(v.Caller),
		Errno: v.Errno, Error: orNull(analyze.ErrnoName(v.Errno)), PID: v.PID, Comm: v.Comm,
		Request: j.askedBy(v.Asked),
	}
	if v.Wiphy != nil {
		r.Wiphy = orNull(v.Wiphy.Name)
	}
	if v.Removed != nil {
		r.RemovedNS = j.atOrNull(v.Removed.At)
	}
	return r, j.o.any(v.Netns, v.Caller) && j.o.when(v.At)
}

func (j converter) rename(n *analyze.Rename) (jsonRename, bool) {
	r := jsonRename{
		AtNS: j.at(n.At), What: "netdev", Name: orNull(n.Old), NewName: orNull(n.New), Namespace: id(n.Netns),
		Errno: n.Errno, Error: orNull(analyze.ErrnoName(n.Errno)), PID: n.PID, Comm: n.Comm,
		Request: j.askedBy(n.Asked),
	}
	if n.Wiphy != nil {
		r.What = "wiphy"
	}
	return r, j.o.any(n.Netns) && j.o.when(n.At)
}

// outcome is a call's errno and its name, null if it isn't known.
func outcome(r analyze.Result, errno uint32) (*uint32, *string) {
	if r != analyze.ResultOK && r != analyze.ResultFailed {
		return nil, nil
	}
	return &errno, orNull(analyze.ErrnoName(errno))
}

func (j converter) pernet(p *analyze.Pernet) (jsonPernet, bool) {
	r := jsonPernet{
		AtNS: j.at(p.At), Action: action(p), Ops: orNull(p.Ops), Fn: orNull(p.Fn), Module: orNull(module(p)),
		Namespaces: p.Namespaces, PID: p.PID, Comm: p.Comm,
	}
	if p.Done != 0 {
		took := span(p.At, p.Done)
		r.DurationNS = &took
	}
	r.AskedNS, r.Waiting = j.atOrNull(p.Asked), p.Waiting
	if p.Asked != 0 && !p.Waiting {
		waited := span(p.Asked, p.At)
		r.WaitNS = &waited
	}
	r.Errno, r.Error = outcome(p.Result, p.Errno)
	return r, len(j.o.Netns) == 0 && j.o.when(p.At)
}

func (j converter) finding(f analyze.Finding) (jsonFinding, bool) {
	return jsonFinding{
		Rule: f.Rule, Severity: string(f.Severity), Subject: f.Subject, Text: f.Text,
		Advice: orNull(f.Advice), AtNS: j.atOrNull(f.At),
	}, listed(f, j.o)
}

func (j converter) statement(s analyze.Statement) (jsonStatement, bool) {
	return jsonStatement{string(s.Severity), s.Rule, s.Text, j.atOrNull(s.At)}, true
}

func (j converter) audit() jsonAudit {
	au := j.m.Audit
	r := jsonAudit{Compared: au.Compared, Differences: []jsonDifference{}, Unverified: []string{}, Note: orNull(au.Note)}
	for _, d := range au.Differences {
		r.Differences = append(r.Differences, jsonDifference(d))
	}
	for _, n := range au.Unverified {
		r.Unverified = append(r.Unverified, n.ID)
	}
	return r
}
