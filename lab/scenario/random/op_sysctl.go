// SPDX-License-Identifier: Apache-2.0

package main

import "os"

// settings are files of a namespace, with values that are legal and one that may not be.
var settings = []struct {
	file   string
	values []string
}{
	{"ipv4/ip_forward", []string{"0", "1", "nonsense"}},
	{"ipv4/ip_default_ttl", []string{"32", "64", "128", "0"}},
	{"ipv4/conf/all/rp_filter", []string{"0", "1", "2"}},
	{"ipv4/conf/default/arp_ignore", []string{"0", "1"}},
	{"ipv4/tcp_ecn", []string{"0", "1", "2", "-5"}},
	{"ipv6/conf/all/forwarding", []string{"0", "1", ""}},
	{"ipv6/conf/default/disable_ipv6", []string{"0", "1"}},
	{"core/somaxconn", []string{"128", "4096", "-1"}},
	{"ipv4/nosuchfile", []string{"1"}},
}

// writeSysctl writes to a file of a namespace's own in /proc/sys/net.
func (w *world) writeSysctl() (*attempt, error) {
	s := w.anywhere()
	setting := pick(w.rand, settings)
	value := pick(w.rand, setting.values)
	var a *attempt
	err := w.visit(s, func() (err error) {
		a, err = w.try(setting.file, args{"id": s.ID, "value": value}, func() error {
			file, err := os.OpenFile("/proc/sys/net/"+setting.file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer file.Close()
			_, err = file.WriteString(value + "\n")
			return err
		})
		return err
	})
	return a, err
}
