-- The catalogue, if there is one.
select
    product_id,
    nullif(name, '') as name,
    nullif(name_zh, '') as name_zh,
    nullif(category, '') as category,
    nullif(description, '') as description,
    list_price,
    introduced_on
from {{ source('raw', 'products') }}
