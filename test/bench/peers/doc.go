// Package peers is what programs that deliver without this project have in common, so that they are measured at the same
// job: a POST with a draft-cavage signature for each host, in the way of a good Go program that keeps to the standard
// library (crypto/rsa, net/http). It uses nothing of the project, and nothing of the project uses it.
//
// A peer is a process that [Serve] runs: it is given its settings in the environment and orders as lines of its standard
// input, and ends when that does. Peers in other languages keep to the same.
package peers
