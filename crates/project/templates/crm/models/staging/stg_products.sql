-- One row per product.
select product, series, sales_price
from {{ source('raw', 'products') }}
