// SPDX-License-Identifier: Apache-2.0

// Command static is what the tests run on a machine with no programs of its own.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

func main() {
	// The modules folder and a modprobe are promised to be there all the same.
	load := exec.Command("modprobe", "mac80211_hwsim", "radios=2")
	load.Stdout, load.Stderr = os.Stdout, os.Stderr
	if err := load.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	radios, err := os.ReadDir("/sys/class/ieee80211")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(runtime.GOARCH, len(radios), "radios")
	os.Exit(3)
}
