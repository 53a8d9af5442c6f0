{{ config(alias='orders', post_hook="{{ log('orders are done') }}") }}

with

orders as (
    select * from {{ ref('stg_orders') }}
),

items as (
    select * from {{ ref('items') }}
),

summary as (
    select
        order_id,
        sum(supply_cost) as order_cost,
        sum(product_price) as items_subtotal,
        count(item_id) as count_items,
        sum(case when is_bread then 1 else 0 end) as count_bread,
        sum(case when is_drink then 1 else 0 end) as count_drinks
    from items
    group by 1
),

compute as (
    select
        orders.*,
        summary.order_cost,
        summary.items_subtotal,
        summary.count_items,
        summary.count_bread > 0 as is_bread_order,
        summary.count_drinks > 0 as is_drink_order
    from orders
    left join summary on orders.order_id = summary.order_id
)

select
    *,
    row_number() over (partition by guest_id order by ordered_at asc) as guest_order_number
from compute
