// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// radio is a simulated one, as far as this program knows.
type radio struct {
	index int
	name  string
	// hwsim is its number to its driver, -1 if unknown.
	hwsim int
	// in is where it is believed to be, from where it was made.
	in, from *space
	// socket is what it goes with, nil if nothing.
	socket *holder
}

// radioClass has a folder for each radio of the initial namespace.
const radioClass = "/sys/class/ieee80211"

// radiosAtHome returns the names of the initial namespace's radios by their index.
func radiosAtHome() (map[int]string, error) {
	entries, err := os.ReadDir(radioClass)
	if err != nil {
		return nil, notAnErrno(err)
	}
	found := map[int]string{}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(radioClass, entry.Name(), "index"))
		if err != nil {
			continue // gone meanwhile
		}
		index, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, err
		}
		found[index] = entry.Name()
	}
	return found, nil
}

// meetRadios makes known what is in the initial namespace.
func (w *world) meetRadios() error {
	home, err := radiosAtHome()
	if err != nil {
		return err
	}
	for index, name := range home {
		i := slices.IndexFunc(w.radios, func(r *radio) bool { return r.index == index })
		if i < 0 {
			w.radios = append(w.radios, &radio{index: index, hwsim: -1, from: w.initial})
			i = len(w.radios) - 1
		}
		w.radios[i].name, w.radios[i].in = name, w.initial
	}
	slices.SortFunc(w.radios, func(a, b *radio) int { return a.index - b.index })
	return nil
}

// orphan takes a dead namespace's radios home, as the kernel does soon. Those that were made in it are gone.
func (w *world) orphan(s *space) {
	w.radios = slices.DeleteFunc(w.radios, func(r *radio) bool { return r.in == s && r.from == s })
	for _, r := range w.radios {
		if r.in == s {
			r.in = w.initial
		}
	}
}

// forget drops a radio that isn't where it was believed to be, unless it is at home.
func (w *world) forget(r *radio) error {
	w.radios = slices.DeleteFunc(w.radios, func(x *radio) bool { return x == r })
	return w.meetRadios()
}

// radioNames are few, so that they clash; and the kernel's own are among them.
func (w *world) randomRadioName() string {
	if w.chance(30) {
		return fmt.Sprintf("phy%d", w.rand.IntN(10))
	}
	return fmt.Sprintf("radio%d", w.rand.IntN(10))
}

// addRadio has hwsim make a radio, for whichever namespace asks.
func (w *world) addRadio() (*attempt, error) {
	s := w.anywhere()
	if len(w.radios) >= maxRadios && w.chance(90) {
		return nil, nil
	}
	var a *attempt
	err := w.visitRadios(s, func(conn *netlink.Conn) (err error) {
		with := args{"id": s.ID}
		name := ""
		if w.chance(60) {
			name = w.randomRadioName()
			with["name"] = name
		}
		noVif, p2p, bound := w.chance(25), w.chance(40), w.chance(15) && s != w.initial
		variation, channels := "", 1
		if w.chance(6) {
			variation, channels, bound = "no channels", 0, false
		}
		var own *socket
		if bound {
			variation = "bound"
			if conn, own, err = dial(unix.NETLINK_GENERIC); err != nil {
				return err
			}
		}
		id := -1
		a, err = w.try(variation, with, func() error {
			id, err = newRadio(conn, w.hwsim, func(a *netlink.AttributeEncoder) {
				if name != "" {
					a.Bytes(hwsimAttrRadioName, []byte(name)) // its length is what ends it
				}
				a.Flag(hwsimAttrNoVif, noVif)
				a.Flag(hwsimAttrP2PDevice, p2p)
				a.Flag(hwsimAttrDestroyOnClose, bound)
				a.Uint32(hwsimAttrChannels, uint32(channels))
			})
			return err
		})
		if err != nil || a.Errno != 0 {
			return err
		}
		if err := w.meetNew(conn, s, id, with); err != nil || !bound {
			return err
		}
		// The radio goes with the socket, which holds its namespace.
		h := &holder{kind: bySocket, file: os.NewFile(uintptr(own.fd), "socket")}
		s.holders = append(s.holders, h)
		w.radios[len(w.radios)-1].socket = h
		return nil
	})
	return a, notAnErrno(err)
}

// loseBound forgets the radio that went with a socket.
func (w *world) loseBound(h *holder) {
	w.radios = slices.DeleteFunc(w.radios, func(r *radio) bool { return r.socket == h })
}

// newRadio returns the number that hwsim has given a radio. The answer to the request is that, where others
// have an errno, which is negative.
func newRadio(conn *netlink.Conn, hwsim family, attributes func(*netlink.AttributeEncoder)) (int, error) {
	err := hwsim.do(conn, hwsimNewRadio, attributes)
	if n := errnoOf(err); n < 0 {
		return -n, nil
	}
	return 0, err
}

// meetNew makes a radio known that has just been made.
func (w *world) meetNew(conn *netlink.Conn, s *space, id int, with args) error {
	names, err := listWiphys(conn, w.nl80211)
	if err != nil {
		return err
	}
	newest := -1
	for index := range names {
		newest = max(newest, index)
	}
	if slices.ContainsFunc(w.radios, func(r *radio) bool { return r.index == newest }) {
		return fmt.Errorf("the newest radio of namespace %d is an old one, %d", s.ID, newest)
	}
	with["index"], with["hwsim"], with["is"] = newest, id, names[newest]
	w.radios = append(w.radios, &radio{index: newest, name: names[newest], hwsim: id, in: s, from: s})
	return nil
}

// someRadio picks a radio and a namespace to ask about it: mostly its own.
func (w *world) someRadio() (*radio, *space, string) {
	if len(w.radios) == 0 {
		return nil, nil, ""
	}
	r := pick(w.rand, w.radios)
	if w.chance(12) {
		if s := w.elsewhere(r.in); s != nil {
			return r, s, "from elsewhere"
		}
	}
	return r, r.in, ""
}

// aboutRadio tries a request about a radio.
func (w *world) aboutRadio(f func(r *radio, s *space, conn *netlink.Conn, with args, variation string) (*attempt, error)) (*attempt, error) {
	r, s, variation := w.someRadio()
	if r == nil {
		return nil, nil
	}
	var a *attempt
	err := w.visitRadios(s, func(conn *netlink.Conn) (err error) {
		a, err = f(r, s, conn, args{"id": s.ID, "index": r.index, "name": r.name}, variation)
		if err == nil && a != nil && a.Errno == int(unix.ENODEV) && variation == "" {
			err = w.forget(r)
		}
		return err
	})
	return a, notAnErrno(err)
}

// deleteRadio has hwsim remove a radio.
func (w *world) deleteRadio() (*attempt, error) {
	return w.aboutRadio(func(r *radio, _ *space, conn *netlink.Conn, with args, variation string) (*attempt, error) {
		if r.hwsim < 0 {
			return nil, nil
		}
		with["hwsim"] = r.hwsim
		a, err := w.try(variation, with, func() error {
			return w.hwsim.do(conn, hwsimDelRadio, func(a *netlink.AttributeEncoder) { a.Uint32(hwsimAttrRadioID, uint32(r.hwsim)) })
		})
		if err == nil && a.Errno == 0 {
			w.radios = slices.DeleteFunc(w.radios, func(x *radio) bool { return x == r })
		}
		return a, err
	})
}

// moveRadio takes a radio to another namespace.
func (w *world) moveRadio() (*attempt, error) {
	return w.aboutRadio(func(r *radio, s *space, conn *netlink.Conn, with args, variation string) (*attempt, error) {
		to := w.elsewhere(r.in)
		if to == nil || w.chance(5) {
			to = r.in
		}
		target, err := to.open()
		if err != nil {
			return nil, err
		}
		defer target.Close()
		with["to"], with["how"] = to.ID, "file"
		attribute, value := uint16(unix.NL80211_ATTR_NETNS_FD), uint32(target.Fd())
		if task := to.task(); task != 0 && w.chance(50) {
			attribute, value, with["how"] = unix.NL80211_ATTR_PID, uint32(task), "task"
		}
		if variation == "" && w.chance(5) {
			attribute, value, variation = unix.NL80211_ATTR_PID, noSuchTask, "no such task"
		}
		a, err := w.try(variation, with, func() error {
			return w.nl80211.do(conn, unix.NL80211_CMD_SET_WIPHY_NETNS, func(a *netlink.AttributeEncoder) {
				a.Uint32(unix.NL80211_ATTR_WIPHY, uint32(r.index))
				a.Uint32(attribute, value)
			})
		})
		if err == nil && a.Errno == 0 {
			r.in = to
		}
		return a, err
	})
}

// renameRadio gives a radio another name, which may be taken.
func (w *world) renameRadio() (*attempt, error) {
	return w.aboutRadio(func(r *radio, _ *space, conn *netlink.Conn, with args, variation string) (*attempt, error) {
		name := w.randomRadioName()
		if w.chance(15) {
			name = r.name
		}
		with["new"] = name
		a, err := w.try(variation, with, func() error {
			return w.nl80211.do(conn, unix.NL80211_CMD_SET_WIPHY, func(a *netlink.AttributeEncoder) {
				a.Uint32(unix.NL80211_ATTR_WIPHY, uint32(r.index))
				a.String(unix.NL80211_ATTR_WIPHY_NAME, name)
			})
		})
		if err == nil && a.Errno == 0 {
			r.name = name
		}
		return a, err
	})
}
