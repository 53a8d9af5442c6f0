-- The newest stock of each product, if it is known.
select
    product_id,
    day,
    on_hand,
    coalesce(on_order, 0) as on_order,
    lead_time_days,
    coalesce(pack_size, 1) as pack_size,
    unit_cost
from {{ source('raw', 'stock') }}
