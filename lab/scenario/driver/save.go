// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// linkJSON is the part of what `ip -j -s link` prints that somebody reads.
type linkJSON struct {
	Ifname  string `json:"ifname"`
	Stats64 struct {
		Rx struct {
			Packets uint64 `json:"packets"`
			Bytes   uint64 `json:"bytes"`
		} `json:"rx"`
	} `json:"stats64"`
}

// save keeps what the kernel says of these namespaces at this moment, in the files that scenario.sh makes:
// inums and NAME.link.json.
func save(dir string, namespaces ...*namespace) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var inums []byte
	for _, n := range namespaces {
		inum, err := n.inum()
		if err != nil {
			return err
		}
		inums = fmt.Appendf(inums, "%d %s\n", inum, n.name)
		links, err := n.links()
		if err != nil {
			return err
		}
		list := make([]linkJSON, len(links))
		for i, l := range links {
			list[i].Ifname = l.name
			list[i].Stats64.Rx.Packets, list[i].Stats64.Rx.Bytes = l.rxPackets, l.rxBytes
			fmt.Printf("   %s: %s received %d packets, %d bytes\n", n.name, l.name, l.rxPackets, l.rxBytes)
		}
		data, err := json.Marshal(list)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, n.name+".link.json"), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "inums"), inums, 0o644)
}
