package deliver

import (
	"errors"
	"strconv"
)

const contentType = "application/activity+json"

// constantLines are the lines of a head that are the same in all requests, from the end of Host to the beginning of
// Content-Length's value.
func constantLines(userAgent, senderName string) string {
	lines := "\r\nUser-Agent: " + userAgent + "\r\nContent-Type: " + contentType
	if senderName != "" {
		lines += "\r\nX-Fedsender-Process: " + senderName
	}
	return lines + "\r\nContent-Length: "
}

var errHeadText = errors.New("the request can't be written: a part of its head is not printable ASCII")

// appendHead appends the request up to its body (RFC 9112, 2.1).
func (a *attempt) appendHead(b []byte, lines string) ([]byte, error) {
	target := a.url.RequestURI()
	// All of it was checked where it comes from. A line break that got here nonetheless would be a request of its own.
	if !isHeaderText(target) || !isHeaderText(a.url.Host) || !isHeaderText(a.doc.Digest) {
		return b, errHeadText
	}
	b = append(append(b, "POST "...), target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), a.url.Host...)
	b = strconv.AppendInt(append(b, lines...), int64(len(a.doc.Body)), 10)
	b = append(append(b, "\r\nDigest: "...), a.doc.Digest...)
	for _, line := range a.signed {
		if !isHeaderText(line.value) {
			return b, errHeadText
		}
		b = append(append(b, "\r\n"...), line.name...)
		b = append(append(b, ": "...), line.value...)
	}
	if line := a.trace.header(); line.value != "" {
		if !isHeaderText(line.value) {
			return b, errHeadText
		}
		b = append(append(b, "\r\n"...), line.name...)
		b = append(append(b, ": "...), line.value...)
	}
	return append(b, "\r\n\r\n"...), nil
}
