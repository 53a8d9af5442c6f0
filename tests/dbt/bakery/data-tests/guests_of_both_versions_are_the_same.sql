select a.guest_id from {{ ref('guests', v=1) }} a full outer join {{ ref('guests') }} b on a.guest_id = b.guest_id
where a.guest_id is null or b.guest_id is null
