// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"strconv"
	"strings"
)

// Container is a container as its cgroup tells of it.
type Container struct {
	// Runtime made it: "docker", "podman", "cri-o", "containerd", "nerdctl",
	// "lxc", "machine" (registered with systemd-machined), "kubernetes" where
	// only that is known.
	Runtime string
	// ID is what the runtime calls it: 64 hexadecimal digits, or a name. "" for
	// what belongs to a pod, but to none of its containers.
	ID string
	// Pod is the UID of the Kubernetes pod it belongs to, "" if none.
	Pod string
}

// String is how reports write it: not escaped.
func (c *Container) String() string {
	id := c.ID
	if isContainerID(id) {
		id = id[:12] // as its own tools show it
	}
	switch {
	case id == "":
		return "pod " + c.Pod
	case c.Pod != "":
		return c.Runtime + " " + id + " of pod " + c.Pod
	}
	return c.Runtime + " " + id
}

// scopes are the prefixes of the systemd units that runtimes put containers in.
var scopes = map[string]string{
	"docker-":         "docker",
	"libpod-":         "podman",
	"crio-":           "cri-o",
	"cri-containerd-": "containerd",
	"nerdctl-":        "nerdctl",
}

// folders are the parents that runtimes which don't ask systemd give the cgroups
// of containers.
var folders = map[string]string{
	"docker":        "docker",
	"libpod_parent": "podman",
}

// containerOf returns the container that a cgroup is, or is part of, nil if it
// is none's as far as is certain. Of one within another it is the inner one.
func containerOf(path string) *Container {
	var found *Container
	pod, parent := "", ""
	for i, part := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		if i == 1 && (parent == "lxc" || parent == "lxc.payload") && part != "" {
			found = &Container{Runtime: "lxc", ID: part}
		} else if uid := podOf(part); uid != "" {
			pod = uid
			found = &Container{Runtime: "kubernetes", Pod: uid}
		} else if c := containerIn(part, parent); c != nil {
			c.Pod = pod
			found = c
		} else if pod != "" && parent != "" && podOf(parent) == pod && isContainerID(part) {
			found = &Container{Runtime: "kubernetes", ID: part, Pod: pod}
		}
		parent = part
	}
	return found
}

// containerIn tells a container by one element of a cgroup's path and the one
// before it.
func containerIn(part, parent string) *Container {
	if unit, ok := strings.CutSuffix(part, ".scope"); ok {
		for prefix, runtime := range scopes {
			if id, ok := strings.CutPrefix(unit, prefix); ok && isContainerID(id) {
				return &Container{Runtime: runtime, ID: id}
			}
		}
		if name, ok := strings.CutPrefix(unit, "machine-"); ok && parent == "machine.slice" {
			return &Container{Runtime: "machine", ID: unescapeUnit(name)}
		}
		return nil
	}
	if unit, ok := strings.CutSuffix(part, ".service"); ok {
		if name, ok := strings.CutPrefix(unit, "systemd-nspawn@"); ok && parent == "machine.slice" {
			return &Container{Runtime: "machine", ID: unescapeUnit(name)}
		}
		return nil
	}
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok && name != "" {
		return &Container{Runtime: "lxc", ID: name}
	}
	if id := strings.TrimPrefix(part, "libpod-"); folders[parent] != "" && isContainerID(id) {
		return &Container{Runtime: folders[parent], ID: id}
	}
	return nil
}

// podOf returns the UID of a pod by its cgroup: pod<UID>, or the unit
// kubepods-<class>-pod<UID with underscores>.slice.
func podOf(part string) string {
	uid, ok := "", false
	if unit, isSlice := strings.CutSuffix(part, ".slice"); isSlice {
		if !strings.HasPrefix(unit, "kubepods-") {
			return ""
		}
		i := strings.LastIndex(unit, "-pod")
		if i < 0 {
			return ""
		}
		uid, ok = strings.ReplaceAll(unit[i+len("-pod"):], "_", "-"), true
	} else {
		uid, ok = strings.CutPrefix(part, "pod")
	}
	if !ok || !isPodUID(uid) {
		return ""
	}
	return uid
}

// isPodUID reports whether s is a UUID, or 32 hexadecimal digits, as pods have
// that come from a file on the node.
func isPodUID(s string) bool {
	digits := strings.ReplaceAll(s, "-", "")
	return len(digits) == 32 && isHex(digits) && (len(s) == 32 || len(s) == 36)
}

func isContainerID(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// unescapeUnit undoes what systemd does to names that become those of units:
// \x2d is a hyphen.
func unescapeUnit(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4 {
			if c, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
