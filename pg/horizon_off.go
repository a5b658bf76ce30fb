//go:build nohorizon

package pg

const gapsAreHoles = true
