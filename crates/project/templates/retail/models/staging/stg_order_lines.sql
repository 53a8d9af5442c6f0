-- One row per landed order line, typed and named. Nothing is left out here: cancellations, guests and
-- gifts stay visible, so that every number can be traced to a row of a file.
select
    invoice_no,
    stock_code as product_id,
    description,
    quantity,
    invoiced_at,
    cast(invoiced_at as date) as day,
    unit_price,
    cast(quantity * unit_price as decimal(18, 3)) as revenue,
    -- 17850.0 is 17850 that a spreadsheet took for a number.
    case
        when ends_with(customer_id, '.0')
            then substr(customer_id, 1, character_length(customer_id) - 2)
        else nullif(customer_id, '')
    end as customer_id,
    country,
    starts_with(invoice_no, 'C') as cancelled
from {{ source('raw', 'order_lines') }}
