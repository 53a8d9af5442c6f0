{% set fee_kinds = var('fee_kinds') %}

with loans as (
    select * from {{ ref('stg_loans') }}
),

fees as (
    select * from {{ ref('stg_fees') }}
),

fees_by_loan as (
    select
        loan_id,
        {% for kind in fee_kinds -%}
        sum(case when kind = '{{ kind }}' then amount else 0 end) as {{ kind }}_amount,
        {% endfor -%}
        sum(amount) as total_amount
    from fees
    group by loan_id
),

final as (
    select
        loans.loan_id,
        loans.member_id,
        loans.loaned_on,
        loans.state,
        {% for kind in fee_kinds -%}
        coalesce(fees_by_loan.{{ kind }}_amount, 0) as {{ kind }}_amount,
        {% endfor -%}
        coalesce(fees_by_loan.total_amount, 0) as amount
    from loans
    left join fees_by_loan on loans.loan_id = fees_by_loan.loan_id
)

select * from final
