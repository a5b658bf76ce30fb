//go:build noterm

package sender

const sendsUnsaved = true
