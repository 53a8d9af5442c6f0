-- One row per opportunity. The pipeline writes 'GTXPro' where the price list has 'GTX Pro'.
select
    opportunity_id,
    sales_agent,
    case product when 'GTXPro' then 'GTX Pro' else product end as product,
    account,
    lower(deal_stage) as deal_stage,
    engage_date,
    close_date,
    close_value,
    deal_stage in ('Prospecting', 'Engaging') as open
from {{ source('raw', 'sales_pipeline') }}
