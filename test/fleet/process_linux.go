package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dieWithParent has the kernel end the process when the one that started it was killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// ProcessCPU is the processor time that a running process has used, threads that ended included.
func ProcessCPU(pid int) (time.Duration, error) {
	// The clock of another process, as clock_getcpuclockid(3) makes it: CPUCLOCK_SCHED of <linux/posix-timers.h>.
	clock := int32(^pid<<3 | 2)
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// TreeCPU is the processor time of a process, its children and the children that it has waited for, such as a Postgres server
// with its sessions.
func TreeCPU(pid int) (time.Duration, error) {
	sum, err := ProcessCPU(pid)
	if err != nil {
		return 0, err
	}
	fields, err := processStat(pid)
	if err != nil {
		return 0, err
	}
	for _, text := range fields[13:15] { // cutime and cstime of proc(5), in ticks of 1/100 s
		ticks, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ticks) * 10 * time.Millisecond
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			return 0, err
		}
		for _, child := range strings.Fields(string(children)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				return 0, err
			}
			used, err := ProcessCPU(n)
			if err != nil && !errors.Is(err, syscall.EINVAL) { // it has ended meanwhile
				return 0, err
			}
			sum += used
		}
	}
	return sum, nil
}

// processStat are the fields of /proc/PID/stat from the third on. The second, the name of the program in parentheses, may hold blanks.
func processStat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	return fields, nil
}
