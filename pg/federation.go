package pg

import "context"

// FederationOff tells that the application has switched federation off as a whole: the allow list names nobody, by the one
// entry ".", which is no server's domain. All cursors stand still then.
func FederationOff(ctx context.Context, q Querier) (off bool, err error) {
	err = q.QueryRow(ctx, `
		select coalesce(bool_and(domain = '.'), false)
		from fedsender.source_domain_list
		where list = 'allow' and (expires_at is null or expires_at > now())`).Scan(&off)
	return off, wrap("read the allow list", err)
}

// federation says that it is switched off.
func (d *diagnosis) federation() {
	const what = "federation"
	off, err := FederationOff(d.ctx, d.conn)
	switch {
	case err != nil:
		d.unknown(what, err)
	case off:
		d.add(what, Warn, "it is switched off as a whole: nothing is sent to anybody, and all cursors stand still", "switch it on in the application")
	}
}
