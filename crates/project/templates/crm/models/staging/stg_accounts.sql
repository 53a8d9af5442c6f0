-- One row per account: the raw table with the spelling of sectors mended.
select
    account,
    case sector when 'technolgy' then 'technology' else sector end as sector,
    year_established,
    revenue as revenue_musd,
    employees,
    office_location,
    subsidiary_of
from {{ source('raw', 'accounts') }}
