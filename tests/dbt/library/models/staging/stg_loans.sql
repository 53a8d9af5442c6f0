with source as (
    select * from {{ ref('raw_loans') }}
)

select
    id as loan_id,
    member_id,
    loaned_on,
    state
from source
