// SPDX-License-Identifier: Apache-2.0

package main

import "encoding/binary"

// The messages of RNDIS ([MS-RNDIS], 2.2). All begin with the kind and the length.
const (
	msgPacket     = 1
	msgInitialize = 2
	msgQuery      = 4
	msgSet        = 5
	msgIndicate   = 7
	msgKeepalive  = 8
	completion    = 1 << 31
)

const (
	statusSuccess      = 0
	statusNotSupported = 0xc00000bb
	statusConnected    = 0x4001000b
)

// maxTransfer is how long a transfer to the device may be.
const maxTransfer = 0x4000

// rndis is the control channel: each command has an answer, for which the driver asks.
type rndis struct{ answers [][]byte }

// take takes a command. Of those without an answer are halt and reset: rndis_host asks for none of either.
func (c *rndis) take(radio *radio, command []byte) {
	word := func(i int) uint32 {
		if len(command) < 4*i+4 {
			return 0
		}
		return binary.LittleEndian.Uint32(command[4*i:])
	}
	kind, id, oid := word(0), word(2), word(3)
	switch kind {
	case msgInitialize:
		// Version 1.0, not connected, 802.3, a packet per transfer to the device, unaligned.
		c.answer(kind, id, statusSuccess, words(nil, 1, 0, 1, 0, 1, maxTransfer, 0, 0, 0))
	case msgQuery:
		value, ok := radio.query(oid)
		if !ok {
			c.answer(kind, id, statusNotSupported, words(nil, 0, 0))
			break
		}
		// The offset counts from the id on.
		c.answer(kind, id, statusSuccess, append(words(nil, uint32(len(value)), 16), value...))
	case msgSet:
		length, offset := int(word(4)), int(word(5))+8
		if radio.set(oid, command[min(offset, len(command)):min(offset+length, len(command))]) {
			c.answers = append(c.answers, words(nil, msgIndicate, 20, statusConnected, 0, 0))
		}
		c.answer(kind, id, statusSuccess, nil)
	case msgKeepalive:
		c.answer(kind, id, statusSuccess, nil)
	}
}

func (c *rndis) answer(kind, id, status uint32, rest []byte) {
	c.answers = append(c.answers, append(words(nil, kind|completion, uint32(16+len(rest)), id, status), rest...))
}

// next is the oldest answer that wasn't asked for.
func (c *rndis) next() []byte {
	if len(c.answers) == 0 {
		return nil
	}
	answer := c.answers[0]
	c.answers = c.answers[1:]
	return answer
}

// packetHeader is how long the header of a packet is, without data out of band.
const packetHeader = 44

// packetLen is how long a frame is as a packet.
func packetLen(frame []byte) int { return packetHeader + len(frame) }

// appendPacket makes a packet of a frame. Nothing may follow the last one: rndis_rx_fixup would take it for another.
func appendPacket(b, frame []byte) []byte {
	b = words(b, msgPacket, uint32(packetLen(frame)), packetHeader-8, uint32(len(frame)), 0, 0, 0, 0, 0, 0, 0)
	return append(b, frame...)
}
