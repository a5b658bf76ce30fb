package sender

import (
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

const cgroups = "/sys/fs/cgroup"

// processors is how many processors the container or unit of this process may use, by the least of what it and those
// around it are allowed (cpu.max of Linux' control groups, version 2). GOMAXPROCS is no measure of it: Go rounds a
// quota up, and to 2 at least. Quotas of version 1 are not read: there GOMAXPROCS counts.
func processors() float64 {
	least := math.Inf(1)
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return least
	}
	_, own, found := strings.Cut(string(text), "0::")
	if !found {
		return least
	}
	own, _, _ = strings.Cut(own, "\n")
	for dir := path.Clean("/" + own); ; dir = path.Dir(dir) {
		if limit, err := os.ReadFile(path.Join(cgroups, dir, "cpu.max")); err == nil { // #nosec G304: the kernel names it
			least = min(least, parseQuota(string(limit)))
		}
		if dir == "/" {
			return least
		}
	}
}

// parseQuota reads "50000 100000" as 0.5; "max 100000" is no limit.
func parseQuota(text string) float64 {
	quota, period, _ := strings.Cut(strings.TrimSpace(text), " ")
	q, err := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err != nil || err2 != nil || q <= 0 || p <= 0 {
		return math.Inf(1)
	}
	return q / p
}
