package resolver

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetProgram unmaps what is only read of the program: all that its many
// packages touched when they started is of no use to the helper. What it does
// use comes back from the page cache, page by page.
func forgetProgram() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	var place string // of a mapping that is only read; "" = another
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 6 && len(fields[1]) == 4:
			place = ""
			if fields[1][:2] == "r-" && strings.HasSuffix(lines.Text(), " "+exe) {
				place = fields[0]
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && place != "":
			// With pages of its own it would have been written to, by a program that
			// relocates itself, and they would be lost.
			forget(place)
		}
	}
}

// forget unmaps the pages in a range of addresses as /proc writes it.
func forget(place string) {
	from, to, _ := strings.Cut(place, "-")
	begin, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return
	}
	if end, err := strconv.ParseUint(to, 16, 64); err == nil && end > begin {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(begin), uintptr(end-begin), unix.MADV_DONTNEED)
	}
}
