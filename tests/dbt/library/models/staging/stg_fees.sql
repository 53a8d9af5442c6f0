with source as (
    select * from {{ ref('raw_fees') }}
)

select
    id as fee_id,
    loan_id,
    kind,
    {{ cents_to_units('amount_cents') }} as amount
from source
