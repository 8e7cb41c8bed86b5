//go:build linux

package main

import (
	"fmt"
	"os"
	"time"
)

// leaked is what is never given back.
var leaked [][]byte

// fault begins what $FAULT says, once the server has said that it is ready:
//
//	brief  end with code 1 a second later
//	leak   take memory without end, 80 MB a second
//	deaf   nothing, but SIGTERM does not end it
func fault() {
	switch os.Getenv("FAULT") {
	case "brief":
		time.AfterFunc(time.Second, func() {
			fmt.Println("giving up")
			os.Exit(1)
		})
	case "leak":
		go func() {
			for {
				block := make([]byte, 4<<20)
				for i := 0; i < len(block); i += 4096 {
					block[i] = 1
				}
				leaked = append(leaked, block)
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
}
