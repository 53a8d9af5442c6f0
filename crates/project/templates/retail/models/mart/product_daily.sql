{{ config(materialized='incremental', unique_key=['product_id', 'day']) }}
-- One row per product and day with a sale: the series that learners/demand.yaml forecasts.
select
    product_id,
    day,
    count(distinct invoice_no) as orders,
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
group by product_id, day
