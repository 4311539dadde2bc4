// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
)

// What rndis_wlan has to know (OIDs, in include/linux/rndis.h of the kernel). It gets along without the rest.
const (
	oidPhysicalMedium  = 0x00010202
	oidAddress         = 0x01010101
	oidMulticastMax    = 0x01010104
	oidBSSID           = 0x0d010101
	oidSSID            = 0x0d010102
	oidDisassociate    = 0x0d010115
	oidStrength        = 0x0d010206
	oidConfiguration   = 0x0d010211
	mediumWireless     = 1
	beacon, channelKHz = 100, 2412000
)

// The device's own address, of those for documentation (RFC 9542, 2.1.2): 5.10 doesn't take one that is administered
// locally, but invents another. And that of the only access point there is.
var (
	address     = [6]byte{0x00, 0x00, 0x5e, 0x00, 0x53, 0x10}
	accessPoint = [6]byte{0x02, 0x4e, 0x53, 0, 0, 0x01}
)

const network = "nstrace"

// strength is the access point's, in dBm: a good one, else the driver scans again and again.
var strength int32 = -50

// radio is the device's radio.
type radio struct{ connected bool }

// query returns a value, false if there is none: nl80211's users then hear of what is unknown, or a default.
func (r *radio) query(oid uint32) ([]byte, bool) {
	switch oid {
	case oidPhysicalMedium:
		return words(nil, mediumWireless), true
	case oidAddress:
		return address[:], true
	case oidMulticastMax:
		return words(nil, 32), true
	case oidStrength:
		return words(nil, uint32(strength)), true
	case oidConfiguration: // the last part is of frequency hopping
		return words(nil, 32, beacon, 0, channelKHz, 16, 0, 0, 0), true
	case oidBSSID:
		return accessPoint[:], r.connected
	case oidSSID:
		return append(words(nil, uint32(len(network))), network...), r.connected
	}
	return nil, false
}

// set takes a value, and returns whether the radio has connected by that. The driver also sets networks that there
// aren't: the radio is on only while there is a name to look for.
func (r *radio) set(oid uint32, value []byte) bool {
	switch oid {
	case oidSSID:
		r.connected = bytes.HasPrefix(value, append(binary.LittleEndian.AppendUint32(nil, uint32(len(network))), network...))
		return r.connected
	case oidDisassociate:
		r.connected = false
	}
	return false
}
