select
    {{ dbt_utils.generate_surrogate_key(['id', 'sku']) }} as supply_uuid,
    id as supply_id,
    sku as product_id,
    name as supply_name,
    {{ pennies_to_euros('cost') }} as supply_cost,
    perishable as is_perishable
from {{ source('till', 'raw_supplies') }}
