// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The device's endpoints, besides the one for control.
const (
	endpointStatus = 1 // never says anything: the driver asks for answers without being told that they are there
	endpointIn     = 2
	endpointOut    = 3
)

// descriptor is what USB knows of the device (USB 2.0, 9.6.1): nobody's numbers, the drivers go by the interface.
var descriptor = []byte{
	18, 1, 0x00, 0x02, // USB 2.0
	2, 0, 0, 64, // class: communication; packets of 64 bytes for control
	0x53, 0x4e, 1, 0, 0, 1, // vendor, product, version
	0, 0, 0, 1, // no names; one configuration
}

// configuration: two interfaces, of which drivers take the first for RNDIS. The second is for data.
var configuration = []byte{
	9, 2, 9 + 9 + 7 + 9 + 7 + 7, 0, 2, 1, 0, 0x80, 50,
	9, 4, 0, 0, 1, 2, 2, 0xff, 0,
	7, 5, 0x80 | endpointStatus, 3, 8, 0, 9,
	9, 4, 1, 0, 2, 10, 0, 0, 0,
	7, 5, 0x80 | endpointIn, 2, 0x00, 2, 0, // packets of 512 bytes
	7, 5, endpointOut, 2, 0x00, 2, 0,
}

// device is the Wi-Fi device.
type device struct {
	port    *port
	radio   radio
	control rndis
	// What the driver waits for at an endpoint, in its order.
	waiting []request
	// Frames that are to be handed over, and how the last transfer was filled.
	frames  [][]byte
	crowded bool
}

// request takes what the host's controller asks.
func (d *device) request(r request) error {
	if r.Command == cmdUnlink {
		i := slices.IndexFunc(d.waiting, func(w request) bool { return w.Seq == r.What })
		if i >= 0 {
			d.waiting = slices.Delete(d.waiting, i, i+1)
		}
		return d.port.unlinked(&r, i >= 0)
	}
	switch r.Endpoint {
	case 0:
		if answer, ok := d.setup(&r); ok {
			return d.port.done(&r, answer[:min(len(answer), int(r.Length))])
		}
		return d.port.stall(&r)
	case endpointOut:
		return d.port.done(&r, nil) // sent to nobody
	}
	d.waiting = append(d.waiting, r)
	return d.hand()
}

// setup answers a request at the endpoint for control.
func (d *device) setup(r *request) (answer []byte, ok bool) {
	switch kind, what := r.Setup[0], r.Setup[1]; {
	case kind == 0x80 && what == 6: // GET_DESCRIPTOR
		switch r.Setup[3] {
		case 1:
			return descriptor, true
		case 2:
			return configuration, true
		}
	case kind == 0x00 && what == 9: // SET_CONFIGURATION
		return nil, true
	case kind == 0x21 && what == 0: // SEND_ENCAPSULATED_COMMAND
		d.control.take(&d.radio, r.data)
		return nil, true
	case kind == 0xa1 && what == 1: // GET_ENCAPSULATED_RESPONSE
		return d.control.next(), true
	}
	return nil, false
}

// receive has the device receive frames.
func (d *device) receive(count int) {
	length := 0
	for i := range count {
		f := frame(i)
		d.frames = append(d.frames, f)
		length += len(f)
	}
	fmt.Printf("received: %d packets, %d bytes\n", count, length)
}

// hand gives frames to the driver, as long as there are any and it waits for some: now one by one, now as many as go
// into a transfer.
func (d *device) hand() error {
	for len(d.frames) > 0 {
		i := slices.IndexFunc(d.waiting, func(w request) bool { return w.Endpoint == endpointIn })
		if i < 0 {
			return nil
		}
		r := d.waiting[i]
		d.waiting = slices.Delete(d.waiting, i, i+1)
		var transfer []byte
		for len(d.frames) > 0 && (transfer == nil || d.crowded) && len(transfer)+packetLen(d.frames[0]) <= int(r.Length) {
			transfer = appendPacket(transfer, d.frames[0])
			d.frames = d.frames[1:]
		}
		d.crowded = !d.crowded
		if err := d.port.done(&r, transfer); err != nil {
			return err
		}
	}
	return nil
}

// words appends numbers as RNDIS has them.
func words(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
