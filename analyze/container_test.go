// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"strings"
	"testing"
)

// TestContainerOf: a container is named where the path leaves no doubt, and only
// there.
func TestContainerOf(t *testing.T) {
	const (
		id  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		id2 = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
		uid = "2f1ad4e8-7c6b-4a52-9d10-3e8f5b6c7d8e"
	)
	underscored := strings.ReplaceAll(uid, "-", "_")
	bare := strings.ReplaceAll(uid, "-", "")
	for _, c := range []struct {
		path, runtime, id, pod, short string
	}{
		{path: "/system.slice/docker-" + id + ".scope", runtime: "docker", id: id, short: "docker 0123456789ab"},
		{path: "/docker/" + id, runtime: "docker", id: id},
		{path: "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope", runtime: "docker", id: id},
		// What runs in a container may have cgroups of its own.
		{path: "/system.slice/docker-" + id + ".scope/init.scope", runtime: "docker", id: id},
		{path: "/docker/" + id + "/system.slice/ssh.service", runtime: "docker", id: id},
		{path: "/docker/" + id + "/docker/" + id2, runtime: "docker", id: id2},
		{path: "/machine.slice/libpod-" + id + ".scope", runtime: "podman", id: id},
		{path: "/machine.slice/libpod-" + id + ".scope/container", runtime: "podman", id: id},
		{path: "/libpod_parent/libpod-" + id, runtime: "podman", id: id},
		{path: "/system.slice/nerdctl-" + id + ".scope", runtime: "nerdctl", id: id},
		{path: "/machine.slice/machine-web\\x2d1.scope", runtime: "machine", id: "web-1", short: "machine web-1"},
		{path: "/machine.slice/machine-qemu\\x2d2\\x2dvm.scope/libvirt", runtime: "machine", id: "qemu-2-vm"},
		{path: "/machine.slice/systemd-nspawn@debian.service/payload", runtime: "machine", id: "debian"},
		{path: "/lxc.payload.web/system.slice", runtime: "lxc", id: "web", short: "lxc web"},
		{path: "/lxc.payload/web", runtime: "lxc", id: "web"},
		{path: "/lxc/web/init.scope", runtime: "lxc", id: "web"},
		{
			path:    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + underscored + ".slice/cri-containerd-" + id + ".scope",
			runtime: "containerd", id: id, pod: uid, short: "containerd 0123456789ab of pod " + uid,
		},
		{path: "/kubepods.slice/kubepods-pod" + underscored + ".slice/crio-" + id + ".scope", runtime: "cri-o", id: id, pod: uid},
		{path: "/kubepods/burstable/pod" + uid + "/" + id, runtime: "kubernetes", id: id, pod: uid},
		{path: "/kubepods/burstable/pod" + bare + "/" + id + "/sub", runtime: "kubernetes", id: id, pod: bare},
		{path: "/kubepods/burstable/pod" + uid, runtime: "kubernetes", pod: uid, short: "pod " + uid},
		// Docker in which Kubernetes runs (kind).
		{
			path:    "/docker/" + id + "/kubelet.slice/kubelet-kubepods.slice/kubepods-pod" + underscored + ".slice/cri-containerd-" + id2 + ".scope",
			runtime: "containerd", id: id2, pod: uid,
		},
		// None, or not certain.
		{path: "/"},
		{path: ""},
		{path: "/system.slice/docker.service"},
		{path: "/system.slice/containerd.service"},
		{path: "/system.slice/docker-web.scope"},
		{path: "/user.slice/user-0.slice/session-1.scope"},
		{path: "/machine.slice/libpod-conmon-" + id + ".scope"},
		{path: "/system.slice/crio-conmon-" + id + ".scope"},
		{path: "/lxc.monitor.web"},
		{path: "/lxc"},
		{path: "/user.slice/lxc/web"},
		{path: "/machine-web.scope"},
		{path: "/" + id},
		{path: "/docker/" + id[:63]},
		{path: "/docker/" + strings.ToUpper(id)},
		{path: "/podium"},
		{path: "/pod" + uid[:35]},
		{path: "/kubepods.slice"},
		{path: "/system.slice/foo-pod" + underscored + ".slice"},
	} {
		got := containerOf(c.path)
		if c.runtime == "" {
			if got != nil {
				t.Errorf("%s: got %+v, want none", c.path, got)
			}
			continue
		}
		if got == nil || got.Runtime != c.runtime || got.ID != c.id || got.Pod != c.pod {
			t.Errorf("%s: got %+v, want %s %s %s", c.path, got, c.runtime, c.id, c.pod)
		} else if s := got.String(); c.short != "" && s != c.short {
			t.Errorf("%s: got %q, want %q", c.path, s, c.short)
		}
	}
}

func TestUnescapeUnit(t *testing.T) {
	for in, want := range map[string]string{
		"web": "web", `a\x2db`: "a-b", `\x2d\x2D`: "--", `\x2`: `\x2`, `\xzz`: `\xzz`, `a\`: `a\`, `\x00`: "\x00",
	} {
		if got := unescapeUnit(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
