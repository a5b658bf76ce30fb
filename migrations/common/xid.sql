-- Which transaction inserted a row, where no column says so. xmin has the low half of its number: it is the highest such
    -- number that is not of the future. A transaction reads rows of its own, whose number may be above the snapshot's, hence
    -- the margin.
    ((select pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1048576)
      - ((select pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1048576) - xmin::text::bigint & 4294967295))::text::xid8
