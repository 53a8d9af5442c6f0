select * from raw.texts;
select v, count(*) from raw.texts group by v;
select distinct v from raw.texts;
select state, min(v), max(v), count(v), count(distinct v) from raw.texts group by state;
select min(v), max(v), count(distinct state) from raw.texts where v like '%7 at%';
select state, array_agg(v order by id) from raw.texts where id < 300 group by state;
select array_agg(v) from (select v from raw.texts order by id limit 40);
select state, string_agg(v, ',' order by id desc) from raw.texts where id < 500 group by state;
select first_value(v order by id desc), last_value(v order by v, id) from raw.texts where v is not null;
select distinct on (state) state, v, id from raw.texts order by state, v desc, id;
select approx_distinct(v) from raw.texts;
select v, id from raw.texts order by v nulls first, id limit 50;
select v, id from raw.texts order by v desc, id offset 19900;
select id, lag(v) over (order by id), first_value(v) over (partition by state order by v, id) from raw.texts;
select id, max(v) over (partition by state), count(*) over (partition by v) from raw.texts;
select * from (select v, id, rank() over (partition by state order by v, id) as r from raw.texts) where r < 20 and v > '0';
select a.id, a.v, b.v from raw.texts a join raw.texts b on a.v = b.v and a.id < b.id where a.id < 400;
select a.id, b.v from raw.texts a left join raw.texts b on a.v = b.v and b.state = 'paid' where a.id < 100;
select a.v, b.state from raw.texts a full join (select * from raw.texts where state = 'open') b on a.id = b.id;
select a.v, b.v from raw.texts a cross join raw.texts b where a.id < 50 and b.id < 50;
select a.v, b.v from raw.texts a join raw.texts b on a.v < b.v where a.id < 60 and b.id < 60;
select v from raw.texts a where exists (select 1 from raw.texts b where b.id = a.id + 1 and b.state = 'lost');
select v from raw.texts where v in (select v from raw.texts where id % 97 = 0);
select v from raw.texts where v not in (select v from raw.texts where id % 97 = 0 and v is not null);
select id from raw.texts where v = (select max(v) from raw.texts where state = 'open');
select id, (select min(v) from raw.texts) as least from raw.texts where id < 10;
select v from raw.texts where state = 'paid' union all select 'a literal' union all select state from raw.texts;
select v from raw.texts where id < 90 union select v from raw.texts where id between 50 and 120;
select v from raw.texts intersect select v from raw.texts where id > 19000;
select v from raw.texts except select v from raw.texts where state = 'open';
select case when id % 2 = 0 then v when id % 3 = 0 then 'three' end, coalesce(v, state, 'none'), nullif(v, 'short') from raw.texts;
select v || '-' || id || state, concat(v, id), concat_ws('/', v, state, 'x'), upper(v), lower(state), initcap(v) from raw.texts;
select substr(v, 3, 20), left(v, 14), right(v, 14), split_part(v, ' ', 2), reverse(v), repeat(state, 4), lpad(state, 20, v) from raw.texts;
select replace(v, '0', 'o'), translate(v, '12', 'ab'), trim(v), btrim(v, '0'), ltrim(v, '0'), regexp_replace(v, '0+', '#') from raw.texts;
select length(v), octet_length(v), strpos(v, 'end'), ascii(state), starts_with(v, '000'), v ~ '9 at', v ilike '%END', levenshtein(state, 'past') from raw.texts;
select md5(v), sha256(v), encode(v::bytea, 'hex') from raw.texts where id < 200;
select try_cast(substr(v, 30, 11) as bigint), cast(id as varchar) = v, v::varchar from raw.texts;
select state, sum(case when v like '%1%' then 1 else 0 end) from raw.texts group by rollup (state) having count(*) > 10;
select coalesce(v, 'none') as k, count(*) filter (where state in ('paid', 'open')) from raw.texts group by 1 order by 2 desc, 1 limit 20;
with c as (select v, state from raw.texts where id < 1000) select x.v, count(*) from c x join c y on x.v = y.v group by x.v;
select a.k, b.k from (select v as k from raw.texts) a join (values ('short'), ('')) as b(k) on a.k = b.k;
select greatest(v, state), least(v, 'm'), v is distinct from state, v between 'a' and 'z' from raw.texts;
select string_to_array(v, ' ')[2] from raw.texts where id < 500;
select v from (select v, id from raw.texts limit 30 offset 5) where v is not null;
select state from raw.texts where v > '0000000000000000000000000000000000005000' and v <= 'a';
-- plain
select distinct arrow_typeof(v) from raw.texts;
-- plain
select arrow_cast(id, 'Utf8') from raw.texts where v = 'short';
-- plain
select make_array(v, state) from raw.texts;
-- plain
select named_struct('a', v, 'b', id) from raw.texts;
-- plain
select id from raw.texts a where 0 < (select count(*) from raw.texts b where b.v = a.v and b.id < 40);
-- plain
with recursive r(n, v) as (select 0, 'x' union all select n + 1, v || 'x' from r where n < 5) select r.v, t.v from r join raw.texts t on t.id = r.n;
-- plain
select unnest(string_to_array(v, ' ')) from raw.texts;
-- plain
select count(*), count(v), max(id) from raw.texts;
-- plain
select id from raw.texts where id < 20
