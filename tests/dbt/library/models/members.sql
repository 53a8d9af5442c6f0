with members as (
    select * from {{ ref('stg_members') }}
),

loans as (
    select * from {{ ref('loans') }}
),

per_member as (
    select
        member_id,
        min(loaned_on) as first_loan,
        max(loaned_on) as latest_loan,
        count(loan_id) as loan_count,
        round(sum(amount), 2) as lifetime_fees
    from loans
    group by member_id
)

select
    members.member_id,
    members.first_name,
    members.last_initial,
    per_member.first_loan,
    per_member.latest_loan,
    per_member.loan_count,
    per_member.lifetime_fees
from members
left join per_member on members.member_id = per_member.member_id
