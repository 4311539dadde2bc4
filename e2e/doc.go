// SPDX-License-Identifier: Apache-2.0

// Package e2e tests nstrace as a whole, on real kernels in virtual machines. It
// has no code of its own. A machine has one CPU, so as many run at a time as
// there are CPUs here: go test -parallel has another number.
package e2e
