// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/lab/internal/control"
)

// machine is what differs between architectures.
type machine struct {
	program, debianPackage string
	args                   []string
	// emulatedCPU is the model to emulate; under KVM it is the host's own.
	emulatedCPU string
	console     string
	// parameters are for its kernel.
	parameters string
}

var machines = map[string]machine{
	"amd64": {
		program: "qemu-system-x86_64", debianPackage: "qemu-system-x86",
		args:        []string{"-machine", "pc", "-vga", "none"},
		emulatedCPU: "max",
		console:     "ttyS0",
		// The kernel panics if its timer doesn't tick in time for it (check_timer in
		// arch/x86/kernel/apic/io_apic.c), which on a busy host it may not.
		parameters: " no_timer_check",
	},
	"arm64": {
		program: "qemu-system-aarch64", debianPackage: "qemu-system-arm",
		args: []string{"-machine", "virt"},
		// "max" has pointer authentication, which is slow to emulate.
		emulatedCPU: "cortex-a72",
		console:     "ttyAMA0",
	},
}

// File descriptors that QEMU inherits, in the order of exec.Cmd.ExtraFiles.
const (
	fdControl = 3 + iota
	fdStdout
	fdStderr
	fdConsole
)

// command returns the QEMU that boots vm, without its files.
func (vm *VM) command(accelerator, image, initramfs string) (*exec.Cmd, error) {
	m := machines[vm.Kernel.Arch]
	program, err := exec.LookPath(m.program)
	if err != nil {
		return nil, fmt.Errorf("there is no %s here: install QEMU (Debian: %s): %w", m.program, m.debianPackage, err)
	}
	args := append([]string{}, m.args...)
	switch {
	case accelerator == kvm:
		args = append(args, "-accel", "kvm", "-cpu", "host")
	case vm.CountInstructions:
		// Without sleep: an idle machine's clock goes on to its next timer at once.
		args = append(args, "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", m.emulatedCPU)
	default:
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", m.emulatedCPU)
	}
	args = append(args,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-smp", strconv.Itoa(vm.CPUs), "-m", strconv.Itoa(vm.MemoryMiB),
		"-kernel", image, "-initrd", initramfs,
		// A panic restarts at once, which -no-reboot turns into QEMU's end. An oops is a panic: what makes the
		// kernel stumble must not pass for a success.
		"-append", strings.TrimSpace("console="+m.console+m.parameters+" quiet panic=-1 oops=panic "+vm.Append),
		"-serial", "chardev:console",
		"-device", "virtio-serial-pci",
	)
	args = append(args, port("control", control.PortControl, "socket,id=control,fd="+strconv.Itoa(fdControl))...)
	args = append(args, port("stdout", control.PortStdout, pipe("stdout", fdStdout))...)
	args = append(args, port("stderr", control.PortStderr, pipe("stderr", fdStderr))...)
	args = append(args, "-chardev", pipe("console", fdConsole))
	for _, fd := range []int{fdStdout, fdStderr, fdConsole} {
		args = append(args, "-add-fd", fmt.Sprintf("fd=%d,set=%d", fd, fd))
	}
	args = append(args, folder(control.TagModules, vm.Kernel.Modules, true)...)
	if !vm.Kernel.foreign() {
		args = append(args, folder(control.TagRoot, "/", true)...)
	}
	if vm.Share != "" {
		args = append(args, folder(control.TagShare, vm.Share, false)...)
	}
	return exec.Command(program, args...), nil
}

func port(id string, number int, chardev string) []string {
	return []string{"-chardev", chardev, "-device", fmt.Sprintf("virtserialport,chardev=%s,nr=%d", id, number)}
}

// pipe is a character device that writes into one of ours. QEMU takes an inherited descriptor for a file
// only by way of such a set, and truncates it, which a pipe refuses, unless it is to append.
func pipe(id string, fd int) string {
	return fmt.Sprintf("file,id=%s,path=/dev/fdset/%d,append=on", id, fd)
}

// folder offers a folder of the host's to the guest by 9p.
func folder(tag, path string, readOnly bool) []string {
	// Files of several of the host's file systems may show there: remap keeps their inode numbers apart.
	fsdev := "local,id=" + tag + ",security_model=none,multidevs=remap,path=" + strings.ReplaceAll(path, ",", ",,")
	if readOnly {
		fsdev += ",readonly=on"
	}
	return []string{"-fsdev", fsdev, "-device", "virtio-9p-pci,fsdev=" + tag + ",mount_tag=" + tag}
}

const (
	kvm = "kvm"
	tcg = "tcg"
)

// accelerators returns what to try, best first.
func (vm *VM) accelerators() ([]string, error) {
	if vm.CountInstructions || vm.Kernel.foreign() || unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		return []string{tcg}, nil
	}
	verdict, err := kvmVerdict()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(verdict); err == nil {
		return []string{tcg}, nil
	}
	return []string{kvm, tcg}, nil
}

// kvmVerdict names the file that, if there, says that KVM didn't work since this host booted. Inside other
// virtual machines /dev/kvm may well be there and fail for what a Debian kernel does; only trying tells.
func kvmVerdict() (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("telling this boot of the host from others: %w", err)
	}
	return filepath.Join(cache, "kvm-broken-"+strings.TrimSpace(string(id))), nil
}

func distrustKVM() error {
	verdict, err := kvmVerdict()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(verdict, os.O_CREATE|os.O_WRONLY, 0o644)
	return errors.Join(err, f.Close())
}
