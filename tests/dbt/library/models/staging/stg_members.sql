with source as (

    {#- Seeds stand for a loader here: dbt builds them before. #}
    select * from {{ ref('raw_members') }}

),

renamed as (

    select
        id as member_id,
        first_name,
        last_initial,
        joined as joined_on
    from source

)

select * from renamed
