-- A test is a query for rows that must not exist.
select opportunity_id, engage_date, close_date
from {{ ref('stg_opportunities') }}
where close_date < engage_date
