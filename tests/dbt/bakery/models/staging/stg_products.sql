select
    sku as product_id,
    name as product_name,
    type as product_type,
    description as product_description,
    {{ pennies_to_euros('price') }} as product_price,
    coalesce(type = 'bread', false) as is_bread,
    coalesce(type = 'drink', false) as is_drink
from {{ source('till', 'raw_products') }}
