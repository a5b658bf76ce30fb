call fedsender.make_triggers()

---- create above / drop below ----

do $$
begin
  if to_regprocedure('fedsender.drop_triggers()') is not null then
    call fedsender.drop_triggers();
  end if;
end
$$
