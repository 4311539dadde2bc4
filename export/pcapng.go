// SPDX-License-Identifier: Apache-2.0

// Package export writes the packets of a recording in forms that other programs read.
package export

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/trace"
)

// Options say what to export.
type Options struct {
	// Netns are the namespaces whose packets are exported, all if empty.
	Netns []*analyze.Netns
}

// Summary is what was exported.
type Summary struct {
	// Packets were written, to that many Interfaces; of Bare there were no bytes.
	Packets, Bare uint64
	Interfaces    int
	// Omitted counts packets that were left out, by why.
	Omitted map[string]uint64
	// Damage is what of the file could not be read.
	Damage []event.Damage
}

// Errors of recordings that have nothing to export.
var (
	// ErrNoPackets: it has no records of packets.
	ErrNoPackets = errors.New("the recording has no packets one by one")
	// ErrNoBytes: it has no bytes of them.
	ErrNoBytes = errors.New("the recording has no bytes of packets")
	// ErrNothing: it has, but none of them is to be written.
	ErrNothing = errors.New("there are no packets to export")
)

// maxComment bounds each comment: options of pcapng are up to 65,535 bytes long.
const maxComment = 8 << 10

// PCAPNG writes the packets of a recording, of which m is the model, in the order of
// time: https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/draft-ietf-opsawg-pcapng.html.
// A netdev is an interface of its own in each namespace it was in. Times are wall time,
// by the clocks' difference when the recording began, to the nanosecond.
func PCAPNG(w io.Writer, r *trace.Reader, m *analyze.Model, o Options) (*Summary, error) {
	switch {
	case !r.HasPackets():
		return nil, ErrNoPackets
	case !r.HasPacketData():
		return nil, ErrNoBytes
	}
	x := &pcapng{out: w, model: m, interfaces: newInterfaces(m, o.Netns), summary: &Summary{Omitted: map[string]uint64{}}}
	for i := range m.Losses {
		if l := &m.Losses[i]; l.Ring == "packets" {
			x.losses = append(x.losses, l)
		}
	}
	slices.SortStableFunc(x.losses, func(a, b *event.Loss) int { return cmp.Compare(a.To, b.To) })
	err := r.OrderedPackets(x.packet, func(d *event.Damage) { x.summary.Damage = append(x.summary.Damage, *d) })
	if err == nil {
		err = x.end()
	}
	return x.summary, err
}

// ownMulticast is why such packets are left out: they come back before they get a
// link header. Packet sockets don't have them either (packet_rcv in
// net/packet/af_packet.c).
const ownMulticast = "the namespace's own multicast, which has no link header"

// pcapng writes a capture.
type pcapng struct {
	out        io.Writer
	model      *analyze.Model
	interfaces *interfaces
	summary    *Summary
	// w is nil until the first packet: the writer wants an interface with the header.
	w *pcapgo.NgWriter
	// losses are those of packets that the capture hasn't told of yet.
	losses []*event.Loss
}

func (x *pcapng) packet(p *event.Packet) error {
	i := x.interfaces.of(p)
	if i.omitted != "" {
		if i.omitted != notWanted {
			x.summary.Omitted[i.omitted]++
		}
		return nil
	}
	if p.Path == event.PathLoopback {
		x.summary.Omitted[ownMulticast]++
		return nil
	}
	if i.id < 0 {
		if err := x.add(i, p); err != nil {
			return err
		}
	}
	info := gopacket.CaptureInfo{
		Timestamp: x.wall(p.Time), CaptureLength: len(p.Data), Length: max(int(p.Length), len(p.Data)), InterfaceIndex: i.id,
	}
	if err := x.w.WritePacketWithOptions(info, p.Data, pcapgo.NgPacketOptions{Comments: x.comments(i, p)}); err != nil {
		return fmt.Errorf("write a packet: %w", err)
	}
	i.packets++
	i.last = p.Time
	x.summary.Packets++
	if len(p.Data) == 0 {
		x.summary.Bare++
	}
	return nil
}

// wall is a boot time as wall time. The recording may not say how they differ.
func (x *pcapng) wall(t uint64) time.Time {
	c := x.model.Recording.Clock
	return time.Unix(0, c.Wall+int64(t)-int64(c.Boot))
}

// add begins an interface, and with the first one the capture.
func (x *pcapng) add(i *iface, p *event.Packet) error {
	in := pcapgo.NgInterface{
		Name: clip(x.interfaces.name(i, p)), Description: clip(x.interfaces.description(i)), LinkType: i.link, TimestampResolution: 9,
	}
	if o := x.model.Recording.Packets; o != nil {
		in.SnapLength = o.Snaplen
		in.Comment = clip(filterText(o))
	}
	var err error
	if x.w == nil {
		x.w, err = pcapgo.NewNgWriterInterface(x.out, in, pcapgo.NgWriterOptions{SectionInfo: x.section()})
	} else {
		i.id, err = x.w.AddInterface(in)
	}
	if err != nil {
		return fmt.Errorf("begin the capture of %s: %w", in.Name, err)
	}
	i.id = x.summary.Interfaces
	x.summary.Interfaces++
	return nil
}

// filterText says which packets were recorded, "" if all.
func filterText(o *event.PacketOptions) string {
	if !o.Filtered() {
		return ""
	}
	var parts []string
	for _, p := range []struct {
		what   string
		values []string
	}{{"--ns", o.Netns}, {"--device", o.Devices}} {
		for _, v := range p.values {
			parts = append(parts, p.what+" "+analyze.Escape(v))
		}
	}
	for _, n := range o.Ethertypes {
		parts = append(parts, fmt.Sprintf("--ethertype %#04x", n))
	}
	return "recorded with " + strings.Join(parts, " ")
}

// section says what this is a recording of.
func (x *pcapng) section() pcapgo.NgSectionInfo {
	r := &x.model.Recording
	comment := "recorded"
	if r.Host != "" {
		comment += " on " + analyze.Escape(r.Host)
	}
	if len(r.Command) > 0 {
		var words []string
		for _, c := range r.Command {
			words = append(words, analyze.Escape(c))
		}
		comment += " by: " + strings.Join(words, " ")
	}
	var lost uint64
	for _, l := range x.losses {
		lost += l.Count
	}
	comment += fmt.Sprintf("\nrecords of packets lost: %d", lost)
	if x.model.End == nil {
		comment += " as far as is known: the recording has no end"
	}
	if r.Clock.Wall == 0 {
		comment += "\nthe times count from when the machine booted: the recording doesn't say what time of day that was"
	}
	return pcapgo.NgSectionInfo{
		Hardware: clip(analyze.Escape(r.Arch)), OS: clip(analyze.EscapeText("Linux " + r.Kernel + " " + r.Version)),
		Application: clip(analyze.EscapeText("nstrace " + r.Tool)), Comment: clip(comment),
	}
}

// comments are what happened between a packet and the one before.
func (x *pcapng) comments(i *iface, p *event.Packet) []string {
	var all []string
	for len(x.losses) > 0 && x.losses[0].To <= p.Time {
		l := x.losses[0]
		x.losses = x.losses[1:]
		from := "the beginning"
		if l.From != 0 {
			from = x.model.Since(l.From)
		}
		all = append(all, clip(fmt.Sprintf("records of %d packets, to whatever interface, were lost between %s and %s",
			l.Count, from, x.model.Since(l.To))))
	}
	for _, v := range i.moves {
		all = append(all, clip(x.moveText(i, v)))
	}
	i.moves = nil
	return all
}

func (x *pcapng) moveText(i *iface, v *analyze.Move) string {
	at := max(v.At, v.Done)
	name := x.interfaces.deviceName(i.stay, i.stay.From)
	text := fmt.Sprintf("%s was moved from %s to %s at %s", name, v.From.Label(), v.To.Label(), x.model.Since(at))
	if v.Name != "" && analyze.Escape(v.Name) != name {
		text += ", where it had been " + analyze.Escape(v.Name)
	}
	switch {
	case v.Carrier != nil && v.Carrier.Cause == analyze.CauseDeath:
		text += ", with its radio " + v.Carrier.Wiphy.Label() + ", because " + v.From.Label() + " died"
	case v.Carrier != nil:
		text += ", with its radio " + v.Carrier.Wiphy.Label() + ", by " + v.Carrier.Who()
	case v.Cause == analyze.CauseRequest:
		text += " by " + v.Who()
	}
	return text
}

// end writes the statistics and what is left.
func (x *pcapng) end() error {
	if x.w == nil {
		return ErrNothing
	}
	for _, i := range x.interfaces.sorted() {
		last := x.wall(x.model.Ended)
		s := pcapgo.NgInterfaceStatistics{LastUpdate: last, StartTime: x.wall(x.model.Began), EndTime: last}
		s.PacketsReceived, s.PacketsDropped = pcapgo.NgNoValue64, pcapgo.NgNoValue64
		if n, ok := x.interfaces.received(i); ok {
			s.PacketsReceived = n
		}
		if m := x.model; m.Ledger != nil && m.End != nil && m.Lost == 0 && !m.LostMore && len(m.Damage)+len(x.summary.Damage) == 0 {
			s.PacketsDropped = 0 // else nobody knows by which interface they came
		}
		if err := x.w.WriteInterfaceStats(i.id, s); err != nil {
			return fmt.Errorf("write an interface's statistics: %w", err)
		}
	}
	if err := x.w.Flush(); err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	return nil
}

// clip keeps a text within what an option may have.
func clip(s string) string {
	if len(s) <= maxComment {
		return s
	}
	return strings.ToValidUTF8(s[:maxComment], "") + "…"
}
