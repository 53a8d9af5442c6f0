-- The customer table, if there is one.
select
    customer_id,
    nullif(name, '') as name,
    nullif(email, '') as email,
    nullif(city, '') as city,
    nullif(country, '') as country,
    signed_up_on,
    -- Nobody gets a message who did not allow it.
    coalesce(consent, false) as consent
from {{ source('raw', 'customers') }}
