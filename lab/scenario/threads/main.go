// SPDX-License-Identifier: Apache-2.0

// Command threads has its first thread go through network namespaces, each of
// which it leaves for good, and back to its own in between, while other threads
// are born, go after it, and end, all at the same time. When nothing moves any
// more it says "still", and stays.
package main

import (
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	spaceCount = 60
	makerCount = 3
)

var own *os.File

// All threads but the runtime's first ones are made by one that the runtime keeps
// for this, since the first one is locked: from then on, and where that is then.
func init() {
	own = unshare()
	runtime.LockOSThread()
}

func main() {
	log.SetFlags(0)
	spaces := make([]*os.File, spaceCount)
	for i := range spaces {
		spaces[i] = unshare()
	}
	enter(own)

	var entered atomic.Int64
	var stop atomic.Bool
	var makers sync.WaitGroup
	for range makerCount {
		makers.Go(func() {
			for !stop.Load() {
				// The thread ends with the goroutine that is locked to it.
				var thread sync.WaitGroup
				thread.Go(func() {
					runtime.LockOSThread()
					if n := entered.Load(); n > 0 && rand.IntN(4) == 0 {
						enter(spaces[rand.Int64N(n)])
					}
				})
				thread.Wait()
			}
		})
	}
	for i, space := range spaces {
		time.Sleep(rand.N(10 * time.Millisecond))
		enter(space)
		entered.Store(int64(i) + 1)
		time.Sleep(rand.N(10 * time.Millisecond))
		if i < len(spaces)-1 {
			enter(own)
		}
	}
	stop.Store(true)
	makers.Wait()

	// One stays with the process, and one without.
	var staying sync.WaitGroup
	for _, space := range spaces[len(spaces)-2:] {
		staying.Add(1)
		go func() {
			runtime.LockOSThread()
			enter(space)
			staying.Done()
			select {}
		}()
	}
	staying.Wait()
	fmt.Println("still")
	for {
		time.Sleep(time.Hour)
	}
}

// unshare goes into a new namespace, and returns it.
func unshare() *os.File {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		log.Fatalf("unshare: %v", err)
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		log.Fatal(err)
	}
	return file
}

func enter(space *os.File) {
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		log.Fatalf("setns: %v", err)
	}
}
