{{ config(materialized='incremental', unique_key='order_id') }}

select order_id, guest_id, ordered_at, order_total >= {{ var('large_order') }} as is_large
from {{ ref('orders') }}
{% if is_incremental() %}
where ordered_at > (select max(ordered_at) from {{ this }})
{% endif %}
