// SPDX-License-Identifier: Apache-2.0

package story

import (
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// Web is the namespace of the story of tenants.
var Web = event.NetRef{Ptr: 0xffff5000, Cookie: 0x5001, Inum: 4026532500}

// Tenants tells of who was in a namespace, which numbers were given, and what was
// set: a container's runtime makes one, a server moves in, many short-lived tasks
// come and go, one thread of a tool looks in from outside, and the server stays.
func Tenants(h event.Handler) {
	s := New(h)
	s.Probes = Told()
	const container = 77
	runc := Thread{PID: 301, Comm: "runc"}
	s.Unshare(runc, Initial, Web)
	s.By(runc.PID, "runc")
	s.HandleCgroup(&event.CgroupPath{
		Time: s.Tick(), ID: container,
		Path: "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope",
	})
	server := Thread{PID: 302, Comm: "runc", Cgroup: container}
	s.Fork(server, Web, Web)
	s.Sysctl(Web, "net/ipv4/ip_unprivileged_port_start", "1024\n", "0\n")
	s.Nsid(event.NsidRequested, Initial, Web, 7, 0)
	s.Nsid(event.NsidRequested, Initial, Web, -1, 17)
	server.Comm = "nginx"
	s.Exec(server, Web)
	s.Exit(runc, Web)
	s.By(302, "nginx")
	for i := range 40 {
		health := Thread{PID: 400 + uint32(i), Comm: "nginx", Cgroup: container}
		s.Fork(health, Web, Web)
		health.Comm = "curl"
		s.Exec(health, Web)
		s.T += MS * uint64(i)
		s.Exit(health, Web)
	}
	s.By(500, "ip")
	veth := Netdev{Ptr: 0xdd0500, Net: Web, Ifindex: 2, Name: "eth0", Kind: "veth"}
	s.Register(veth)
	s.Nsid(event.NsidGiven, Web, Initial, 0, 0)
	tool := Thread{PID: 600, Comm: "exporter", TID: 601, Others: 3}
	s.Go(tool, Initial, Web)
	s.T += 100 * MS
	s.Go(tool, Web, Initial)
	s.By(700, "systemd-sysctl")
	for i := range 12 {
		s.Sysctl(Initial, fmt.Sprintf("net/ipv4/conf/eth%d/rp_filter", i), "0", "2")
	}
	initial := State(Initial)
	initial.NSIDs = []event.NSID{{ID: 7, Inum: Web.Inum, Cookie: Web.Cookie}}
	web := Held(State(Web, Link(veth)), Thread{PID: 302, Comm: "nginx"})
	web.NSIDs = []event.NSID{{ID: 0, Inum: Initial.Inum, Cookie: Initial.Cookie}}
	s.End(initial, web)
}
