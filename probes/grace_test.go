// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"os"
	"testing"
)

func TestWaitForPrograms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make maps")
	}
	if err := waitForPrograms(); err != nil {
		t.Fatal(err)
	}
}
