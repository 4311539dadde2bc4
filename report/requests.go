// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

// The schema's types for requests and for wdevs without a netdev.
type (
	jsonAsk struct {
		AtNS       int64        `json:"at_ns"`
		DoneNS     *int64       `json:"done_ns"`
		Protocol   string       `json:"protocol"`
		Command    string       `json:"command"`
		Number     uint32       `json:"command_number"`
		Text       string       `json:"text"`
		PID        uint32       `json:"pid"`
		Comm       string       `json:"comm"`
		Caller     *string      `json:"caller"`
		Namespace  *string      `json:"namespace"`
		Target     *string      `json:"target"`
		TargetPID  *uint32      `json:"target_pid"`
		Meant      *jsonProcess `json:"target_process"`
		Wiphy      *string      `json:"wiphy"`
		WiphyIndex *int32       `json:"wiphy_index"`
		Device     *string      `json:"device"`
		Ifindex    *int32       `json:"ifindex"`
		Wdev       *string      `json:"wdev"`
		WdevID     *uint32      `json:"wdev_id"`
		Name       *string      `json:"name"`
		Kind       *string      `json:"kind"`
		Iftype     *string      `json:"iftype"`
		Stage      *string      `json:"stage"`
		Errno      uint32       `json:"errno"`
		Error      *string      `json:"error"`
		UserNS     *uint32      `json:"user_ns"`
		CallerNS   *uint32      `json:"caller_user_ns"`
		NetAdmin   bool         `json:"net_admin"`
		Effects    int          `json:"effects"`
	}
	jsonProcess struct {
		PID  uint32 `json:"pid"`
		Comm string `json:"comm"`
	}
	// jsonAskedBy is what is told of a request with what it caused.
	jsonAskedBy struct {
		AtNS    int64   `json:"at_ns"`
		Command string  `json:"command"`
		Caller  *string `json:"caller"`
	}
	jsonAskFold struct {
		Comm    *string `json:"comm"`
		Command *string `json:"command"`
		Errno   uint32  `json:"errno"`
		Error   *string `json:"error"`
		Count   uint64  `json:"count"`
		FirstNS int64   `json:"first_ns"`
		LastNS  int64   `json:"last_ns"`
	}
	jsonWdev struct {
		ID         *uint32         `json:"id"`
		Name       *string         `json:"name"`
		Iftype     *string         `json:"iftype"`
		Wiphy      *string         `json:"wiphy"`
		WiphyIndex *int32          `json:"wiphy_index"`
		Created    *jsonCreated    `json:"created"`
		EndedNS    *int64          `json:"ended_ns"`
		Inferred   bool            `json:"inferred"`
		Residence  []jsonResidence `json:"residence"`
	}
	jsonPeer struct {
		Name      *string `json:"name"`
		Ifindex   *int32  `json:"ifindex"`
		Namespace *string `json:"namespace"`
	}
)

// stages are the words for how far a request over nl80211 came.
var stages = map[event.Stage]string{
	event.StageRefused: "refused", event.StagePreDoit: "not-found", event.StageHandled: "handled",
}

func (j converter) ask(k *analyze.Ask) (jsonAsk, bool) {
	r := jsonAsk{
		AtNS: j.at(k.At), DoneNS: j.atOrNull(k.Done), Protocol: string(k.Protocol), Command: k.CommandName(), Number: k.Command,
		Text: k.Intent(), PID: k.PID, Comm: k.Comm, Caller: id(k.Caller), Namespace: id(k.Netns), Target: id(k.Target),
		TargetPID: orNull(k.TargetPID), WiphyIndex: index(k.Wiphy), Ifindex: orNull(k.Ifindex), WdevID: orNull(k.WdevID),
		Name: orNull(k.Name), Kind: orNull(k.Kind), Iftype: orNull(analyze.IftypeName(k.Iftype)), Stage: orNull(stages[k.Stage]),
		Errno: k.Errno, Error: orNull(analyze.ErrnoName(k.Errno)), UserNS: orNull(k.Owner), CallerNS: orNull(k.CallerOwner),
		NetAdmin: k.Capable, Effects: k.Effects,
	}
	if k.Meant != nil {
		r.Meant = &jsonProcess{k.Meant.PID, k.Meant.Comm}
	}
	if k.Wiphy != nil {
		r.Wiphy = orNull(k.Wiphy.Name)
	} else if k.WiphyIndex >= 0 {
		i := k.WiphyIndex
		r.WiphyIndex = &i
	}
	if k.Device != nil {
		r.Device = orNull(k.Device.Name)
	}
	if k.Wdev != nil {
		r.Wdev = orNull(k.Wdev.Name)
	}
	return r, j.o.any(k.About()...) && j.o.when(k.At)
}

func (j converter) askFold(f analyze.AskFold) (jsonAskFold, bool) {
	return jsonAskFold{
		Comm: orNull(f.Comm), Command: orNull(f.Command), Errno: f.Errno, Error: orNull(analyze.ErrnoName(f.Errno)),
		Count: f.Count, FirstNS: j.at(f.First), LastNS: j.at(f.Last),
	}, len(j.o.Netns) == 0
}

func (j converter) askedBy(k *analyze.Ask) *jsonAskedBy {
	if k == nil {
		return nil
	}
	return &jsonAskedBy{j.at(k.At), k.CommandName(), id(k.Caller)}
}

func (j converter) wdev(d *analyze.Wdev) (jsonWdev, bool) {
	r := jsonWdev{
		ID: orNull(d.ID), Name: orNull(d.Name), Iftype: orNull(analyze.IftypeName(d.Iftype)), WiphyIndex: index(d.Wiphy),
		Created: j.created(d.Birth), EndedNS: j.atOrNull(d.Ended), Inferred: d.Origin == analyze.Inferred || d.EndInferred,
		Residence: []jsonResidence{},
	}
	if d.Wiphy != nil {
		r.Wiphy = orNull(d.Wiphy.Name)
	}
	var in []*analyze.Netns
	for _, s := range d.Stays() {
		r.Residence = append(r.Residence, jsonResidence{s.Netns.ID, j.atOrNull(s.From), j.atOrNull(s.Until)})
		in = append(in, s.Netns)
	}
	return r, j.o.any(in...)
}

// otherEnd is the other end of a pair as it was at last.
func otherEnd(d *analyze.Device) *jsonPeer {
	if d.Peer == nil {
		return nil
	}
	p := &jsonPeer{Name: orNull(d.Peer.Name)}
	if n := len(d.Peer.Stays); n != 0 {
		last := d.Peer.Stays[n-1]
		p.Ifindex, p.Namespace = orNull(last.Ifindex), id(last.Netns)
	}
	return p
}

// askItem tells of a request that nothing else tells of.
func (t *writer) askItem(k *analyze.Ask, add adder) {
	if k.Effects != 0 {
		return
	}
	text := k.Asked()
	if !k.OK() {
		text += ": " + analyze.ErrnoName(k.Errno)
		switch k.Stage {
		case event.StageRefused:
			text += ", before nl80211 saw it"
		case event.StagePreDoit:
			text += ", as it was looked up"
		}
	}
	add(k.At, k.About(), "%s", text)
}

// askFolds says how many requests there were too many of to list.
func (t *writer) askFolds() {
	n := uint64(0)
	for _, f := range t.m.AskFolds {
		n += f.Count
	}
	if n != 0 {
		t.line("  (%d more requests over nl80211 and rtnetlink are only counted: the JSON report says of whom)", n)
	}
}

// askedAbout are the namespaces that something concerns because of who asked for
// it.
func askedAbout(k *analyze.Ask) []*analyze.Netns {
	if k == nil {
		return nil
	}
	return []*analyze.Netns{k.Caller, k.Netns}
}

// with names the command that a request was made with.
func with(k *analyze.Ask) string {
	if k == nil {
		return ""
	}
	return " (" + k.CommandName() + ")"
}

// wdevItems tells of wdevs without a netdev that no run of ieee80211_if_add tells
// of: those of other drivers.
func (t *writer) wdevItems(d *analyze.Wdev, add adder) {
	stays := d.Stays()
	if d.ByMac80211() || len(stays) == 0 {
		return
	}
	first, last := stays[0], stays[len(stays)-1]
	if d.Birth != nil {
		add(d.Birth.At, []*analyze.Netns{first.Netns, d.Birth.Caller}, "%s added %s to %s in %s", d.Birth.Who(), wdevName(d), d.Wiphy.Label(), first.Netns.Label())
	}
	if d.EndedBy != nil {
		add(d.Ended, []*analyze.Netns{last.Netns}, "%s removed %s from %s", d.EndedBy.Who(), wdevName(d), d.Wiphy.Label())
	}
}

// wdevName is what a wdev is called, and what it is.
func wdevName(d *analyze.Wdev) string {
	kind := "without a netdev"
	if s := analyze.IftypeName(d.Iftype); s != "" {
		kind = s + ", " + kind
	}
	return d.Label() + " (" + kind + ")"
}

// wdevRow is a wdev's time in a namespace as a row of the tables of interfaces.
func (t *writer) wdevHow(d *analyze.Wdev, s *analyze.WiphyStay) string {
	out := "there already"
	switch s.Arrived {
	case analyze.ArrivedCreated:
		out = "created"
		if d.Birth != nil {
			out += " by " + d.Birth.Who()
		}
	case analyze.ArrivedMoved:
		out = "moved with " + d.Wiphy.Label()
	}
	if s.Inferred {
		out += " (inferred)"
	}
	if s.Left == analyze.LeftRemoved {
		out += ", then removed"
		if d.EndInferred {
			out += " (not seen leaving)"
		}
	}
	return out
}

// wdevKind is a wdev's kind in the tables of interfaces.
func wdevKind(d *analyze.Wdev) string {
	if s := analyze.IftypeName(d.Iftype); s != "" {
		return fmt.Sprintf("%s of %s, no netdev", s, d.Wiphy.Label())
	}
	return fmt.Sprintf("wdev of %s, no netdev", d.Wiphy.Label())
}

// kind is a netdev's kind in the tables of interfaces, with the other end of a
// pair.
func kind(d *analyze.Device) string {
	if d.Peer == nil {
		return d.KindLabel()
	}
	return d.KindLabel() + ", peer " + d.Peer.Label()
}
