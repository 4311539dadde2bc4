// SPDX-License-Identifier: Apache-2.0

package main

// operation is a kind of thing to do.
type operation struct {
	name   string
	weight int
	// do returns nil, nil if there is nothing to do it to. Its error is trouble.
	do func(*world) (*attempt, error)
}

// operations are all there are.
var operations = []operation{
	{"netns.add", 30, (*world).addName},
	{"netns.del", 20, (*world).deleteName},
	{"netns.attach", 15, (*world).attachName},
	{"netns.thread", 40, (*world).addThread},
	{"netns.process", 12, (*world).addProcess},
	{"netns.user", 8, (*world).addUser},
	{"netns.mounts", 6, (*world).addMounts},
	{"netns.burst", 8, (*world).burst},
	{"netns.nest", 8, (*world).nestUser},
	{"netns.flash", 30, (*world).flash},
	{"netns.refused", 8, (*world).refused},
	{"hold", 50, (*world).hold},
	{"release", 70, (*world).release},
	{"agent.add", 15, (*world).agentAdds},
	{"agent.give", 20, (*world).agentGives},
	{"enter", 50, (*world).enter},
	{"link.add", 190, (*world).addLink},
	{"link.del", 70, (*world).deleteLink},
	{"link.move", 150, (*world).moveLink},
	{"link.rename", 60, (*world).renameLink},
	{"link.altname", 25, (*world).nameLinkToo},
	{"link.up", 30, (*world).setLinkUp},
	{"link.master", 25, (*world).enslaveLink},
	{"radio.add", 30, (*world).addRadio},
	{"radio.del", 22, (*world).deleteRadio},
	{"radio.move", 70, (*world).moveRadio},
	{"radio.rename", 25, (*world).renameRadio},
	{"vif.add", 45, (*world).addVif},
	{"vif.del", 30, (*world).deleteVif},
	{"sysctl", 40, (*world).writeSysctl},
	{"module.load", 4, (*world).loadModule},
	{"module.remove", 4, (*world).removeModule},
	{"module.hwsim", 1, (*world).reloadHwsim},
	{"settle", 4, (*world).settleDown},
}
