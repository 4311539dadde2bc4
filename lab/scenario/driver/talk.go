// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// rounds is how many times a burst of datagrams goes out and comes back.
const (
	rounds = 50
	burst  = 8
	size   = 1000
)

// place is a radio where it was moved to.
type place struct {
	namespace *namespace
	device    string
	prefix    netip.Prefix
}

// talk has the two radios join a cell, sends datagrams both ways and takes the radios off the air.
func talk(ap, sta *namespace) error {
	places := []place{
		{ap, "wlan1", netip.MustParsePrefix("10.11.0.1/24")},
		{sta, "wlan2", netip.MustParsePrefix("10.11.0.2/24")},
	}
	if err := meet(places); err != nil {
		return err
	}
	step(fmt.Sprintf("send %d datagrams of %d bytes each way", rounds*burst, size))
	server, err := places[0].listen()
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := places[1].listen()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := exchange(client, server); err != nil {
		return err
	}
	step("silence the air: nothing is received from here on")
	for _, p := range places {
		if err := p.namespace.down(p.device); err != nil {
			return err
		}
	}
	return nil
}

// meet returns once either radio knows the other.
func meet(places []place) error {
	step("join wlan1 and wlan2 in an IBSS")
	var sockets []*radios
	for _, p := range places {
		r, err := openRadios(p.namespace)
		if err != nil {
			return err
		}
		defer r.Close()
		// The notes of a group come on a socket of their own: an answer must be the next thing on its.
		hear, err := openRadios(p.namespace)
		if err != nil {
			return err
		}
		defer hear.Close()
		if err := hear.JoinGroup(hear.mlme); err != nil {
			return err
		}
		sockets = append(sockets, hear)
		if err := r.join(p.device); err != nil {
			return err
		}
		if err := p.namespace.address(p.device, p.prefix); err != nil {
			return err
		}
	}
	for _, hear := range sockets {
		if err := hear.awaitStation(); err != nil {
			return err
		}
	}
	return nil
}

// listen opens a socket at the place's address.
func (p place) listen() (conn *net.UDPConn, err error) {
	err = p.namespace.do(func() error {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.prefix.Addr(), 5001)))
		if err != nil {
			return err
		}
		return conn.SetDeadline(time.Now().Add(patience))
	})
	return conn, err
}

// exchange sends bursts to the server, and back, and wants every datagram.
func exchange(client, server *net.UDPConn) error {
	for round := range rounds {
		if err := send(client, server, round); err != nil {
			return err
		}
		if err := send(server, client, round); err != nil {
			return err
		}
	}
	return nil
}

// send sends a burst and receives it.
func send(from, to *net.UDPConn, round int) error {
	datagram := make([]byte, size)
	for i := range burst {
		binary.BigEndian.PutUint32(datagram, uint32(round*burst+i))
		if _, err := from.WriteTo(datagram, to.LocalAddr()); err != nil {
			return err
		}
	}
	received := make([]byte, size+1)
	for i := range burst {
		n, _, err := to.ReadFrom(received)
		if err != nil {
			return fmt.Errorf("receiving datagram %d: %w", round*burst+i, err)
		}
		binary.BigEndian.PutUint32(datagram, uint32(round*burst+i))
		if !bytes.Equal(received[:n], datagram) {
			return fmt.Errorf("datagram %d isn't what was sent", round*burst+i)
		}
	}
	return nil
}
