// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/nstrace/nstrace/analyze"

func (j converter) delivery(d *analyze.Delivery) jsonDelivery {
	r := jsonDelivery{
		Device: orNull(d.Device.Name), Ifindex: d.Ifindex, Path: d.Path.String(),
		Packets: d.Packets, Bytes: d.Bytes, Merged: d.Merged, RxPackets: d.RxPackets, RxBytes: d.RxBytes,
		Rates: j.rates(d.Rates),
	}
	if u := d.Undelivered; u != nil {
		r.Relayed, r.RelayedBytes = &u.Relayed, u.RelayedBytes
		r.ControlPort, r.ControlPortBytes = &u.Control, &u.ControlBytes
	}
	if d.Ethertypes != nil {
		r.Ethertypes = each(d.Ethertypes, func(e analyze.Ethertype) (jsonEthertype, bool) {
			return jsonEthertype{orNull(e.Protocol), ethertypeName(e.Protocol), e.Packets, e.Bytes}, true
		})
	}
	return r
}
