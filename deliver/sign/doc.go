// Package sign turns signing strings into signatures, as fast as the machine can.
//
// A [Stage] stands beside the network: whoever has a connection ready asks it for one signature. It lets as many sign at
// one time as there are processors, has activities take turns so that one for a single server does not wait for the
// thousands of another, and asks for the string when its turn has come, so that the date in it is never old. It gives a
// [Backend] strings of one key together, as many as that one likes to have.
//
// It promises that what it returns was made with the key, for the string, by one of the backends; and that libcrypto,
// which is not part of this program, can fail or lie without a delivery being lost: see [Checked].
//
// It shows no private key to anybody: no error, text or log line has a part of one.
package sign
