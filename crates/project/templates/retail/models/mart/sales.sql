{{ config(materialized='view') }}
-- Clean sales: a known customer bought something for a price and did not cancel it. Everything
-- downstream counts these rows. A view, because a second copy of every line would cost more than it saves.
select
    invoice_no,
    product_id,
    customer_id,
    description,
    quantity,
    invoiced_at,
    day,
    unit_price,
    revenue,
    country
from {{ ref('stg_order_lines') }}
where customer_id is not null
    and not cancelled
    and quantity > 0
    and unit_price > 0
