// Package admin is what a process shows of itself over HTTP: whether it lives, whether it can deliver, its metrics, and
// a page for a person.
//
// It promises that nothing is changed without the token, and that no answer holds a secret.
//
// It asks its owner through functions and knows no database, no lease and no queue.
package admin
