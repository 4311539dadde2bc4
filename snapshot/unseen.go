// SPDX-License-Identifier: Apache-2.0

package snapshot

// unseen lists the kinds of holder that aren't looked for. A namespace that only
// these keep is found, since the kernel lists it, but who they are isn't.
func unseen(root string) []string {
	kinds := []string{
		"the kernel itself, as for a mounted NFS or SMB share",
		"TCP connections that were closed but aren't at their end",
		"open files and sockets on their way from one process to another (SCM_RIGHTS), or registered with io_uring",
		"mounts in a mount namespace that no task is in, and mounts attached nowhere",
	}
	if inum, err := readNsLink(root, "self", "pid"); err != nil || inum != initPidInum {
		kinds = append(kinds, "tasks outside of nstrace's pid namespace, and what they have open or mounted")
	}
	return kinds
}
