{{ config(materialized='incremental', unique_key='customer_id') }}
-- One row per customer, with and without orders. An increment computes only those who ordered lately
-- or whose entry in the customer table changed: a turn costs what is new, not what there is.
with changed as (
    {% if is_incremental() %}
    select customer_id from {{ ref('orders') }}
    where ordered_at >= (
        select coalesce(
            date_trunc('day', max(last_order_at)) - interval '{{ var('lookback_days') }} days',
            to_timestamp(0)
        )
        from {{ this }}
    )
    union
    select entry.customer_id
    from {{ ref('stg_customers') }} as entry
    left join {{ this }} as old on old.customer_id = entry.customer_id
    where old.customer_id is null
        or (old.consent is distinct from entry.consent)
        or (old.email is distinct from entry.email)
        or (old.name is distinct from entry.name)
        or (old.city is distinct from entry.city)
    {% else %}
    select customer_id from {{ ref('orders') }}
    union
    select customer_id from {{ ref('stg_customers') }}
    {% endif %}
),

bought as (
    select
        customer_id,
        min(country) as country,
        min(ordered_at) as first_order_at,
        max(ordered_at) as last_order_at,
        count(*) as orders,
        sum(lines) as lines,
        sum(pieces) as pieces,
        sum(revenue) as revenue
    from {{ ref('orders') }}
    where customer_id in (select customer_id from changed)
    group by customer_id
)

select
    changed.customer_id,
    known.name,
    known.email,
    known.city,
    coalesce(known.country, bought.country) as country,
    known.signed_up_on,
    coalesce(known.consent, {{ var('consent_if_unknown') }}) as consent,
    bought.first_order_at,
    bought.last_order_at,
    coalesce(bought.orders, 0) as orders,
    coalesce(bought.lines, 0) as lines,
    coalesce(bought.pieces, 0) as pieces,
    cast(coalesce(bought.revenue, 0) as decimal(18, 3)) as revenue
from changed
left join bought on bought.customer_id = changed.customer_id
left join {{ ref('stg_customers') }} as known on known.customer_id = changed.customer_id
