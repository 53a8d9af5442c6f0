{{ config(materialized='incremental', unique_key='invoice_no') }}
-- One row per order of a known customer.
select
    invoice_no,
    min(customer_id) as customer_id,
    min(invoiced_at) as ordered_at,
    min(day) as day,
    min(country) as country,
    count(*) as lines,
    sum(quantity) as pieces,
    cast(sum(revenue) as decimal(18, 3)) as revenue
from {{ ref('sales') }}
{% if is_incremental() %}
-- Only the newest days are read again; their orders replace themselves by invoice_no. The condition
-- is on the landed column, so that files of older days are not even opened.
where invoiced_at >= (
    select coalesce(
        date_trunc('day', max(ordered_at)) - interval '{{ var('lookback_days') }} days',
        to_timestamp(0)
    )
    from {{ this }}
)
{% endif %}
group by invoice_no
