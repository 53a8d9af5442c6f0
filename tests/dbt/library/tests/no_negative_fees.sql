select loan_id, amount from {{ ref('loans') }} where amount < 0
