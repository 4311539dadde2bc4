// SPDX-License-Identifier: Apache-2.0

// Package e2e tests nstrace as a whole, on real kernels in virtual machines. It
// has no code of its own.
package e2e
