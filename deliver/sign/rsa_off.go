//go:build norsa

package sign

const ConstantRSA = true
