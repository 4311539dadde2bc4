// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"github.com/nstrace/nstrace/event"
)

// Analyzer builds a [Model]. It is an [event.Handler]; give it a whole trace,
// then call [Analyzer.Model].
type Analyzer struct {
	m Model
	// now is the latest time seen, firstEvent and lastEvent are those of the first
	// and the latest lifecycle event.
	now, firstEvent, lastEvent uint64
	began                      bool
	nets                       nets
	devs                       devices
	wiphys                     wiphys
	wdevs                      wdevs
	asks                       asks
	halves                     map[uint32]*Device // by thread: the latest of a pair whose other end is awaited
	calls                      map[uint32][]*call // running functions by thread
	names                      map[string]*heldName
	symbols                    map[uint64][]event.Symbol
	subsystems                 map[uint64]uint32 // index into Model.Subsystems by the operations' address
	cleanups                   cleanups
	waits                      waits
	opening                    *event.Snapshot // not applied yet
	applied                    *event.Snapshot
	closing                    *event.Snapshot
	rows                       map[rowKey]*row
	drops                      map[dropKey]*Drop
	rowOrder                   []*row
	packets                    packetCheck
	readings                   readings
	lulls                      map[place]*lulls
	folds                      folds
	tasks                      tasks
	odd                        uint64 // events that name nothing they could be about
	finished                   bool
}

var _ event.Handler = (*Analyzer)(nil)

// New returns an analyzer that has seen nothing yet.
func New() *Analyzer {
	return &Analyzer{
		nets: nets{
			byCookie: make(map[uint64]*Netns),
			byPtr:    make(map[uint64][]*Netns),
			byInum:   make(map[uint32][]*Netns),
		},
		devs:       devices{byPtr: make(map[uint64][]*Device)},
		wiphys:     wiphys{byIndex: make(map[int32]*Wiphy), byPtr: make(map[uint64]*Wiphy)},
		wdevs:      wdevs{byPtr: make(map[uint64]*Wdev)},
		asks:       asks{folds: make(map[askKey]*AskFold)},
		halves:     make(map[uint32]*Device),
		calls:      make(map[uint32][]*call),
		names:      make(map[string]*heldName),
		symbols:    make(map[uint64][]event.Symbol),
		subsystems: make(map[uint64]uint32),
		cleanups:   cleanups{last: make(map[uint32]*Cleanup)},
		waits:      waits{refusals: make(map[refusalKey]*Refusal)},
		rows:       make(map[rowKey]*row),
		lulls:      make(map[place]*lulls),
		drops:      make(map[dropKey]*Drop),
		folds:      folds{keep: DefaultKeep, byComm: make(map[string]*Fold)},
		tasks: tasks{
			processes: make(map[uint32]*process), gone: make(map[taskKey]uint64), cgroups: make(map[uint64]string),
		},
	}
}

// Keep sets how many ended namespaces and netdevs are kept whole at least,
// instead of DefaultKeep; 0 keeps all. Those that wanted, if not nil, reports
// true for are kept anyway: it is asked after a namespace's end, when its names,
// labels and tasks are known. To be called before anything is handled.
func (a *Analyzer) Keep(n int, wanted func(*Netns) bool) {
	a.folds.keep, a.folds.wanted = n, wanted
}

// HandleRecording takes the recording's head.
func (a *Analyzer) HandleRecording(r *event.Recording) {
	a.m.Recording = *r
	a.m.Recording.Command = append([]string(nil), r.Command...)
	a.m.Began, a.began = r.Began, true
	if r.InitNet != 0 {
		n := a.newNetns(r.Began)
		n.Initial, n.Origin = true, Preexisting
		a.learn(n, event.NetRef{Inum: r.InitNet})
		a.nets.initial = n
	}
}

// tick notes that t has come: the opening snapshot is applied when everything
// that happened while it was made is known.
func (a *Analyzer) tick(t uint64) {
	if t > a.now {
		a.now = t
	}
	if !a.began && t != 0 {
		a.m.Began, a.began = t, true
	}
	if a.opening != nil && a.now > a.opening.Finish {
		a.applyOpening()
	}
}

// HandleEvent takes one lifecycle event.
func (a *Analyzer) HandleEvent(e *event.Event) {
	a.m.Events++
	a.tick(e.Time)
	a.fold()
	a.lastEvent = e.Time
	if a.firstEvent == 0 {
		a.firstEvent = e.Time
	}
	a.strayCalls(e)
	if caller := a.netns(e.Caller, e.Time); caller != nil {
		caller.sawTask(e.PID, e.Comm)
	}
	switch e.Kind {
	case event.KindSetupNet:
		a.setupNet(e)
	case event.KindPutNet:
		a.putNet(e)
	case event.KindCleanupNet:
		a.cleanupNet(e)
	case event.KindFreeNet:
		a.freeNet(e)
	case event.KindRegisterPernet, event.KindUnregisterPernet:
		a.pernet(e)
	case event.KindCopyNet:
		a.copyNet(e)
	case event.KindPernetRequest:
		a.pernetRequest(e)
	case event.KindWiphyNew:
		a.wiphyNew(e)
	case event.KindWiphyRegister:
		a.wiphyRegister(e)
	case event.KindWiphyUnregister:
		a.wiphyUnregister(e)
	case event.KindWiphyFree:
		a.wiphyFree(e)
	case event.KindWiphyRename:
		a.wiphyRename(e)
	case event.KindWiphySwitch:
		a.wiphySwitch(e)
	case event.KindIfAdd:
		a.ifAdd(e)
	case event.KindIfRemove:
		a.ifRemove(e)
	case event.KindNetdevRegister:
		a.netdevRegister(e)
	case event.KindNetdevUnregister:
		a.netdevUnregister(e)
	case event.KindNetdevMove:
		a.netdevMove(e)
	case event.KindNetdevRename:
		a.netdevRename(e)
	case event.KindNsid:
		a.nsid(e)
	case event.KindSysctl:
		a.sysctl(e)
	case event.KindNL80211, event.KindRTNetlink:
		a.ask(e)
	case event.KindNetByPID:
		a.netByPID(e)
	case event.KindWdevRegister:
		a.wdevRegister(e)
	case event.KindWdevUnregister:
		a.wdevUnregister(e)
	default:
		a.odd++
	}
}

// HandleSymbol takes the name of an address.
func (a *Analyzer) HandleSymbol(s *event.Symbol) {
	a.tick(s.Time)
	a.symbols[s.Addr] = append(a.symbols[s.Addr], *s)
}

// HandleSnapshot takes a snapshot. It is delivered when it was begun, so it is
// kept until what happened meanwhile is known.
func (a *Analyzer) HandleSnapshot(s *event.Snapshot) {
	a.tick(s.Begin)
	a.m.SnapshotErrors = append(a.m.SnapshotErrors, s.Errors...)
	if len(s.Unseen) > 0 {
		a.m.Unseen = append([]string(nil), s.Unseen...)
	}
	c := *s
	c.Namespaces = make([]event.NetnsState, len(s.Namespaces))
	for i, ns := range s.Namespaces {
		ns.Names = append([]string(nil), ns.Names...)
		ns.Holders = append([]event.Holder(nil), ns.Holders...)
		ns.Tasks = append([]event.Resident(nil), ns.Tasks...)
		ns.NSIDs = append([]event.NSID(nil), ns.NSIDs...)
		ns.Wdevs = append([]event.Wdev(nil), ns.Wdevs...)
		ns.Links = append([]event.Link(nil), ns.Links...)
		ns.Wiphys = append([]event.Wiphy(nil), ns.Wiphys...)
		c.Namespaces[i] = ns
	}
	if s.Closing {
		a.m.Closing = true
		a.closing = &c
		return
	}
	if a.opening != nil {
		a.applyOpening()
	}
	a.m.Opening = true
	a.opening = &c
}

// HandleLoss takes a gap in the sequence numbers.
func (a *Analyzer) HandleLoss(l *event.Loss) {
	a.tick(l.To)
	a.m.Losses = append(a.m.Losses, *l)
}

// HandleLedger takes the account of what may be missing; the last one counts.
func (a *Analyzer) HandleLedger(l *event.Ledger) {
	a.tick(l.Time)
	c := *l
	c.Probes = append([]event.ProbeLedger(nil), l.Probes...)
	c.Rings = append([]event.RingLedger(nil), l.Rings...)
	c.Problems = append([]event.Problem(nil), l.Problems...)
	a.m.Ledger = &c
}

// HandleDamage takes an unreadable part of the file.
func (a *Analyzer) HandleDamage(d *event.Damage) {
	a.tick(d.Time)
	a.m.Damage = append(a.m.Damage, *d)
	if !d.Truncated {
		a.readings.tear()
	}
}

// HandleEnd takes the end of a complete recording.
func (a *Analyzer) HandleEnd(e *event.End) {
	a.tick(e.Time)
	c := *e
	a.m.End = &c
}

// horizon is how far the events reach. What was still going on at the end of the
// recording went on until then at least; but where events could not be written
// nothing is known of it after the last one that was.
func (a *Analyzer) horizon() uint64 {
	if a.m.Ledger != nil && a.m.Ledger.Unwritten != 0 {
		return a.lastEvent
	}
	return a.m.Ended
}

// Model finishes the analysis and returns its result. Nothing may be handled
// after the first call.
func (a *Analyzer) Model() *Model {
	if a.finished {
		return &a.m
	}
	a.finished = true
	if a.opening != nil {
		a.applyOpening()
	}
	a.m.Ended = a.now
	if a.m.End != nil && a.m.End.Time != 0 {
		a.m.Ended = a.m.End.Time
	}
	a.applyClosing()
	a.gather()
	a.finishAsks()
	a.finishFolds()
	a.finishPernet()
	a.finishSubsystems()
	a.finishRequests()
	a.finishDelivery()
	a.countLost()
	a.audit()
	a.clipTasks()
	a.clipNsids()
	a.verdict()
	a.findings()
	return &a.m
}
