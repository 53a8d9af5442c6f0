{{ config(materialized='incremental', unique_key='day') }}
-- One row per day with a sale.
select
    day,
    count(distinct invoice_no) as orders,
    count(distinct customer_id) as customers,
    count(*) as lines,
    sum(quantity) as pieces,
    cast(sum(revenue) as decimal(18, 3)) as revenue
from {{ ref('sales') }}
{% if is_incremental() %}
where invoiced_at >= (
    select coalesce(
        cast(max(day) - interval '{{ var('lookback_days') }} days' as timestamp),
        to_timestamp(0)
    )
    from {{ this }}
)
{% endif %}
group by day
