-- $1 the schema's half of every lock, $2 the keys' halves in ascending order, in which all of milepost takes them.
select pg_advisory_xact_lock($1::int, half) from unnest($2::int[]) as half
