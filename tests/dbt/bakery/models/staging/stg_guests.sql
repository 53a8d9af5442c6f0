select id as guest_id, name as guest_name from {{ source('till', 'raw_guests') }}
