with

items as (
    select * from {{ ref('stg_items') }}
),

orders as (
    select * from {{ ref('stg_orders') }}
),

products as (
    select * from {{ ref('stg_products') }}
),

supplies as (
    select product_id, sum(supply_cost) as supply_cost
    from {{ ref('stg_supplies') }}
    group by 1
)

select
    items.*,
    orders.ordered_at,
    products.product_name,
    products.product_price,
    products.is_bread,
    products.is_drink,
    supplies.supply_cost
from items
left join orders on items.order_id = orders.order_id
left join products on items.product_id = products.product_id
left join supplies on items.product_id = supplies.product_id
