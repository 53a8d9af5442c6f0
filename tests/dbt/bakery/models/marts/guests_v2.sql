with

orders as (
    select
        guest_id,
        count(distinct order_id) as count_orders,
        count(distinct order_id) > 1 as is_repeat_buyer,
        min(ordered_at) as first_ordered_at,
        sum(order_total) as lifetime_spend
    from {{ ref('orders') }}
    group by 1
)

select
    guests.guest_id,
    guests.guest_name,
    orders.count_orders,
    orders.first_ordered_at,
    orders.lifetime_spend,
    case when orders.is_repeat_buyer then 'returning' else 'new' end as guest_type
from {{ ref('stg_guests') }} as guests
left join orders using (guest_id)
