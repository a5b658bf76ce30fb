//go:build !linux

package sender

import "math"

// processors is how many processors a container lets this process use: not known here.
func processors() float64 { return math.Inf(1) }
