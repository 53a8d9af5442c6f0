select
    id as order_id,
    bakery_id,
    guest as guest_id,
    subtotal as subtotal_pennies,
    tax_paid as tax_paid_pennies,
    order_total as order_total_pennies,
    {{ pennies_to_euros('subtotal') }} as subtotal,
    {{ pennies_to_euros('tax_paid') }} as tax_paid,
    {{ pennies_to_euros('order_total') }} as order_total,
    {{ dbt.date_trunc('day', 'ordered_at') }} as ordered_at
from {{ source('till', 'raw_orders') }}
