// SPDX-License-Identifier: Apache-2.0

// Package e2e tests nstrace as a whole, on real kernels in virtual machines. It
// has no code of its own. A machine has one CPU, and waits about a third of its
// time: make runs three at a time on two CPUs. Without make as many run as there
// are CPUs here: go test -parallel has another number.
package e2e
