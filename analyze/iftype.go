// SPDX-License-Identifier: Apache-2.0

package analyze

import "fmt"

// iftypes are the names `iw` prints for the kernel's enum nl80211_iftype, and
// iftypeWords what it wants to be given for them.
var (
	iftypes = []string{
		"", "IBSS", "managed", "AP", "AP/VLAN", "WDS", "monitor", "mesh point", "P2P-client", "P2P-GO", "P2P-device",
		"outside context of a BSS", "NAN",
	}
	iftypeWords = []string{"", "ibss", "managed", "__ap", "__ap_vlan", "wds", "monitor", "mp", "__p2pcl", "__p2pgo", "__p2pdev", "ocb", "__nan"}
)

// IftypeName names an interface type, "" if it is unknown or unspecified.
func IftypeName(t uint32) string {
	switch {
	case t == 0:
		return ""
	case int(t) < len(iftypes):
		return iftypes[t]
	}
	return fmt.Sprintf("type %d", t)
}

// iftypeWord is the type as an argument of iw, "" if it has none.
func iftypeWord(t uint32) string {
	if int(t) < len(iftypeWords) {
		return iftypeWords[t]
	}
	return ""
}
