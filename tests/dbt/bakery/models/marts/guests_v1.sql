select guest_id, guest_name from {{ ref('stg_guests') }}
