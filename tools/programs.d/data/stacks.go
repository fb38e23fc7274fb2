// Calls, preemption and signals at all depths of small stacks: what lies below one is another goroutine's.
package main

import "C"

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

var bad int64

//go:noinline
func down(n int, seed uint64, f func()) uint64 {
	a := seed
	if n > 0 {
		a += down(n-1, seed+7, f)
	} else {
		f()
	}
	if a < seed {
		atomic.AddInt64(&bad, 1)
	}
	return a
}

//go:noinline
func guard(seed uint64, n int, f func()) {
	var a [24]uint64
	for i := range a {
		a[i] = seed ^ uint64(i)*0x9e3779b97f4a7c15
	}
	down(n, 1, f)
	for i := range a {
		if a[i] != seed^uint64(i)*0x9e3779b97f4a7c15 {
			atomic.AddInt64(&bad, 1)
		}
	}
}

//go:noinline
func burn(n int) uint64 {
	x := uint64(n) | 1
	for i := 0; i < n; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

func main() {
	null, _ := syscall.Open("/dev/null", syscall.O_WRONLY, 0)
	buf := []byte("hello")
	for round := 0; round < 12; round++ {
		var wg sync.WaitGroup
		for g := 0; g < 300; g++ {
			g := g
			wg.Add(1)
			go func() {
				defer wg.Done()
				var p [2]int
				syscall.Pipe(p[:])
				b := make([]byte, 8)
				ts := syscall.Timespec{Nsec: 100000}
				for k := 0; k < 25; k++ {
					guard(uint64(g), (g*7+k+round)%48, func() {
						switch k % 5 {
						case 0:
							syscall.Write(null, buf)
						case 1:
							syscall.Nanosleep(&ts, nil)
						case 2:
							syscall.Write(p[1], buf)
							syscall.Read(p[0], b)
						case 3:
							fd, _ := syscall.Open("/etc/passwd", 0, 0)
							syscall.Close(fd)
						case 4:
							burn(100000)
						}
					})
				}
				syscall.Close(p[0])
				syscall.Close(p[1])
			}()
		}
		wg.Wait()
	}
	fmt.Println("overwritten:", bad)
	if bad != 0 {
		os.Exit(1)
	}
}
