// Command sender delivers ActivityPub activities from a Postgres database. Each verb is a file: flags in, words out.
//
// Exit codes: 0 done; 1 it ran and the answer is bad; 2 wrong usage or configuration, said in one line on standard
// error that names the variable or flag. A database without the schema of this program is wrong configuration, to all verbs but
// doctor, to which it is a bad answer as any other.
package main
