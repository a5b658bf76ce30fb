// Package demo shows the sender at work to somebody who has nothing but its executable: a private Postgres, simulated
// remote servers, three sender processes and an application that writes activities, some of them late, some rolled back.
// Some servers are slow, flaky, busy or down; one of the senders is killed. At the end the receivers' ledger says what
// arrived, and the verdict is the exit code.
//
// It promises that it touches no database of anybody's, listens on 127.0.0.1 alone, and leaves nothing behind, however
// it ends: what a demo that was killed could not remove, the next one removes. (Where there is no Postgres, the archive
// that was downloaded stays in the user's cache directory.)
package demo
