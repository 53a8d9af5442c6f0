-- A test fails if it returns a row. The same sales are counted by order, by day and by customer; if the
-- three sums differ by a thousandth, an increment lost or repeated something.
with sums as (
    select
        (select sum(revenue) from {{ ref('orders') }}) as by_order,
        (select sum(revenue) from {{ ref('daily_sales') }}) as by_day,
        (select sum(revenue) from {{ ref('customers') }}) as by_customer
)

select *
from sums
where by_order <> by_day or by_order <> by_customer
