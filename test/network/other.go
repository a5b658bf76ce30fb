//go:build !linux

package network

import "errors"

// Enter fails: there are no network namespaces.
func Enter() error { return errors.New("tests have a network of their own on Linux only") }
