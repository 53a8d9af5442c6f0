-- What customers did with messages: opened, clicked or bought through them.
select
    message_key as decision_id,
    policy,
    customer_id,
    event,
    at,
    cast(at as date) as day
from {{ source('raw', 'responses') }}
