select * from {{ ref('stg_bakeries') }}
