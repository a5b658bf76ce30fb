//go:build !nohorizon

package pg

// gapsAreHoles is what the build tag nohorizon turns on, to show that the tests lose activities without the horizon.
const gapsAreHoles = false
