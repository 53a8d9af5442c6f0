with

source as (

    select * from {{ source('till', 'bakeries') }}

),

renamed as (

    select

        ----------  ids
        id as bakery_id,

        ---------- text
        name as bakery_name,

        ---------- numerics
        tax_rate,

        ---------- timestamps
        {{ dbt.date_trunc('day', 'opened_at') }} as opened_date

    from source

)

select * from renamed
