-- Every day, so that metrics have days without orders.
with

days as (
    {{ dbt_date.get_base_dates(start_date="2024-07-01", end_date="2024-09-01", datepart="day") }}
),

cast_to_date as (
    select cast(date_day as date) as date_day from days
)

select * from cast_to_date
