//go:build !norsa

package sign

// ConstantRSA is what the build tag norsa turns on: in place of a signature of RSA there is a constant, which no receiver
// takes. It is for benchmarks of what a delivery costs besides.
const ConstantRSA = false
