-- One row per account with what it bought and what is still open.
select
    a.account,
    a.sector,
    a.office_location,
    a.employees,
    min(o.engage_date) as first_engaged,
    max(case when o.deal_stage = 'won' then o.close_date end) as last_won,
    sum(case when o.deal_stage = 'won' then 1 else 0 end) as deals_won,
    sum(case when o.deal_stage = 'lost' then 1 else 0 end) as deals_lost,
    sum(case when o.open then 1 else 0 end) as deals_open,
    sum(case when o.deal_stage = 'won' then o.close_value else 0 end) as value_won
from {{ ref('stg_accounts') }} a
left join {{ ref('stg_opportunities') }} o on o.account = a.account
group by a.account, a.sector, a.office_location, a.employees
