-- One row per open deal with its age. "Today" is the newest day in the data, so that an old export
-- gives the same answer whenever it is read.
with today as (
    select max(coalesce(close_date, engage_date)) as day
    from {{ ref('stg_opportunities') }}
)

select
    o.opportunity_id,
    o.account,
    o.product,
    p.sales_price,
    o.deal_stage,
    o.engage_date,
    o.sales_agent,
    t.manager,
    t.regional_office,
    cast(
        (date_part('epoch', today.day) - date_part('epoch', o.engage_date)) / 86400 as bigint
    ) as days_open
from {{ ref('stg_opportunities') }} o
cross join today
left join {{ ref('stg_products') }} p on p.product = o.product
left join {{ ref('stg_sales_teams') }} t on t.sales_agent = o.sales_agent
where o.open
