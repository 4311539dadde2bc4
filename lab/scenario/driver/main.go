// SPDX-License-Identifier: Apache-2.0

// Command driver plays the scenario of scenario.sh where none of its tools are: on a machine of another
// architecture, whose only programs are the ones it is given. Built without cgo it needs a modprobe and
// tracefs, and nothing else of user space; by netlink and system calls it asks the kernel for what ip and iw
// ask there. In place of an access point, which takes a daemon on either side, the two radios join an IBSS,
// which the kernel does alone.
//
//	driver OUT
//
// It says each step. In OUT/both it leaves what the kernel knows while namespaces ap and sta exist; nothing
// is received after that, so the packet counters there are final.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// patience is what any one thing may take: much, on an emulated machine that others keep busy.
const patience = 60 * time.Second

// holdCommand has this program do nothing but live, in the namespace it was started in.
const holdCommand = "hold"

// The main goroutine keeps the main thread to itself: a thread that went to another namespace has to end, for
// the namespace to be able to, and Go never ends this one.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: driver OUT")
		os.Exit(2)
	}
	if os.Args[1] == holdCommand {
		fmt.Println("here")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	if err := play(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

func step(text string) { fmt.Println("==", text) }

// play is the scenario, as scenario.sh has it.
func play(out string) error {
	links, err := watchLinks()
	if err != nil {
		return err
	}
	defer links.Close()
	ap, sta, err := setUp()
	if err != nil {
		return err
	}
	holder, err := moveRadios(ap, sta)
	if err != nil {
		return err
	}
	defer holder.end()
	if err := refuse(ap); err != nil {
		return err
	}
	if err := addAccessPoint(links); err != nil {
		return err
	}
	if err := talk(ap, sta); err != nil {
		return err
	}
	step("save what the kernel knows")
	if err := save(filepath.Join(out, "both"), initial(), ap, sta); err != nil {
		return err
	}
	step("end what runs in sta")
	if err := holder.end(); err != nil {
		return err
	}
	return leave(sta, links)
}

// leave returns when a namespace is gone and its radio is back.
func leave(sta *namespace, links *linkWatch) error {
	cleaned, err := watchCleanUps()
	if err != nil {
		return err
	}
	defer cleaned.close()
	step("delete sta: its radio comes home")
	if err := sta.remove(); err != nil {
		return err
	}
	if err := links.await("wlan2"); err != nil {
		return err
	}
	return cleaned.await()
}

// setUp makes the radios and the namespaces.
func setUp() (ap, sta *namespace, err error) {
	step("create three simulated radios")
	if radios, _ := os.ReadDir(radioClass); len(radios) > 0 {
		return nil, nil, fmt.Errorf("this machine has radios already: play in a lab machine")
	}
	modprobe := exec.Command("modprobe", "mac80211_hwsim", "radios=3")
	modprobe.Stdout, modprobe.Stderr = os.Stdout, os.Stderr
	if err := modprobe.Run(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", modprobe, err)
	}
	step("create namespaces ap and sta")
	if ap, err = add("ap"); err != nil {
		return nil, nil, err
	}
	sta, err = add("sta")
	return ap, sta, err
}

func moveRadios(ap, sta *namespace) (*holder, error) {
	radios, err := openRadios(initial())
	if err != nil {
		return nil, err
	}
	defer radios.Close()
	step("move phy1 to namespace ap by a file of it")
	if err := radios.moveToFile("phy1", ap); err != nil {
		return nil, err
	}
	step("move phy2 to namespace sta by the id of a process that lives there")
	h, err := hold(sta)
	if err != nil {
		return nil, err
	}
	return h, radios.moveToProcess("phy2", h.cmd.Process.Pid)
}

// holder is a process that lives in a namespace.
type holder struct {
	cmd  *exec.Cmd
	stop io.Closer
}

// hold starts a process in a namespace.
func hold(n *namespace) (*holder, error) {
	cmd := exec.Command("/proc/self/exe", holdCommand)
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("starting a process in %s: %w", n.name, err)
	}
	h := &holder{cmd, stop}
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("waiting for a process in %s: %w", n.name, err)
	}
	return h, nil
}

// end ends the process, if it hasn't been already.
func (h *holder) end() error {
	if h.cmd.ProcessState != nil {
		return nil
	}
	_ = h.stop.Close()
	return h.cmd.Wait()
}
