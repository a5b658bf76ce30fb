//go:build noterm

package lease

const termEndless = true
