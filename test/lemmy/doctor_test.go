package lemmy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/lemmy"
)

// What the script for the role grants is what sender needs, and doctor looks for each of it.
func TestLemmy_Role_DoctorNamesEachRightThatIsMissing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newRoleScene(t, line)
		s.migrate()
		rows, err := s.DB.Query(s.ctx, `
			select lower(privilege_type), '', table_name
			from information_schema.table_privileges
			where grantee = 'fedsender' and table_schema = 'public' and privilege_type <> 'TRIGGER'
			union all
			select lower(c.privilege_type), c.column_name, c.table_name
			from information_schema.column_privileges c
			where c.grantee = 'fedsender' and c.table_schema = 'public' and not exists (
			  select from information_schema.table_privileges t
			  where t.grantee = c.grantee and t.table_schema = c.table_schema and t.table_name = c.table_name and t.privilege_type = c.privilege_type)
			order by 1, 3`)
		ok(t, err)
		type right struct{ Privilege, Column, Table string }
		rights, err := pgx.CollectRows(rows, pgx.RowToStructByPos[right])
		ok(t, err)
		if len(rights) != 13 {
			t.Errorf("the script grants %v, want reading ten tables and writing two", rights)
		}
		for _, r := range rights {
			what := r.Privilege
			if r.Column != "" {
				what = fmt.Sprintf("%s (%s)", r.Privilege, r.Column)
			}
			s.exec(fmt.Sprintf(`revoke %s on public.%s from fedsender`, what, r.Table))
			want := fmt.Sprintf("grant %s on public.%s to fedsender", what, r.Table)
			if text, code := s.command("doctor"); code != 1 || !strings.Contains(text, want) {
				t.Errorf("without it doctor ends with %d and does not say %q:\n%s", code, want, text)
			}
			s.exec(fmt.Sprintf(`grant %s on public.%s to fedsender`, what, r.Table))
		}
		if text, code := s.command("doctor"); code != 0 {
			t.Errorf("with all of it doctor ends with %d:\n%s", code, text)
		}
	})
}
