{{ config(materialized='view') }}
-- How far messages get, by policy and day: sent is counted by system.decisions, the rest here. This is
-- what the receivers did, not what the messages caused; that is measured against the holdout.
select
    policy,
    day,
    count(distinct case when event = 'opened' then decision_id end) as opened,
    count(distinct case when event = 'clicked' then decision_id end) as clicked,
    count(distinct case when event = 'converted' then decision_id end) as converted
from {{ ref('stg_responses') }}
group by policy, day
