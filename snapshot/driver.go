// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// sysfs is the sysfs of one network namespace: /sys/class/net and
// /sys/class/ieee80211 show what is in it only. It isn't mounted anywhere, so
// nobody else sees it, and it goes when it is closed.
//
// ethtool (ETHTOOL_GDRVINFO) knows drivers, too, but asking it wakes a device
// that sleeps (__dev_ethtool in net/ethtool/ioctl.c) and takes the rtnl lock.
type sysfs struct{ fd int }

// openSysfs opens the sysfs of the calling thread's network namespace. It needs
// CAP_SYS_ADMIN over it.
func openSysfs() (sysfs, error) {
	context, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return sysfs{}, err
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return sysfs{}, err
	}
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	return sysfs{fd}, err
}

func (s sysfs) close() { _ = unix.Close(s.fd) }

// device returns the name of the device behind something of a class, and its
// driver; "" without.
func (s sysfs) device(class, name string) (device, driver string) {
	// A slash in a name is an exclamation mark there (kobject_set_name_vargs).
	link := path.Join("class", class, strings.ReplaceAll(name, "/", "!"), "device")
	driver = s.base(path.Join(link, "driver"))
	if driver == usbDevice {
		driver = s.interfacesDriver(link)
	}
	return s.base(link), driver
}

// usbDevice is the driver of any USB device as a whole. Drivers that make a radio
// a child of that (rndis_wlan, brcmfmac) are those of its interfaces.
const usbDevice = "usb"

// interfacesDriver returns the driver of a USB device's interfaces; "" if they
// have none, or several, which leave open whose the radio is.
func (s sysfs) interfacesDriver(device string) string {
	fd, err := unix.Openat(s.fd, device, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	dir := os.NewFile(uintptr(fd), device)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return ""
	}
	common := ""
	for _, name := range names {
		if !strings.Contains(name, ":") { // 1-2:1.0 is an interface of 1-2
			continue
		}
		driver := s.base(path.Join(device, name, "driver"))
		if driver != "" && common != "" && driver != common {
			return ""
		}
		common = cmp.Or(common, driver)
	}
	return common
}

// base returns the last element of what a symbolic link leads to.
func (s sysfs) base(link string) string {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(s.fd, link, buf)
	if err != nil || n == 0 {
		return ""
	}
	return path.Base(string(buf[:n]))
}

// addDrivers fills in the drivers of the namespace the thread is in. Where
// nothing can be of a driver, it doesn't even look.
func addDrivers(state *event.NetnsState) error {
	var links []*event.Link
	for i := range state.Links {
		if l := &state.Links[i]; l.Kind == "" && l.DevType != unix.ARPHRD_LOOPBACK {
			links = append(links, l)
		}
	}
	if len(links) == 0 && len(state.Wiphys) == 0 {
		return nil
	}
	fs, err := openSysfs()
	if err != nil {
		return err
	}
	defer fs.close()
	for _, l := range links {
		_, l.Driver = fs.device("net", l.Name)
	}
	for i := range state.Wiphys {
		w := &state.Wiphys[i]
		w.Device, w.Driver = fs.device("ieee80211", w.Name)
	}
	return nil
}
