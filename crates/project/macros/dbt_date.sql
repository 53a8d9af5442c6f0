{# What dbt_date offers and projects use most, written for the SQL of this program. #}

{% macro _zone(tz=none) -%}
{{ return(tz or var('dbt_date:time_zone', none)) }}
{%- endmacro %}

{% macro convert_timezone(column, target_tz=none, source_tz=none) -%}
{%- set zone = dbt_date._zone(target_tz) or 'UTC' -%}
{%- if source_tz -%}
to_local_time((cast({{ column }} as timestamp) at time zone '{{ source_tz }}') at time zone '{{ zone }}')
{%- else -%}
to_local_time(cast({{ column }} as timestamp with time zone) at time zone '{{ zone }}')
{%- endif -%}
{%- endmacro %}

{% macro now(tz=none) -%}
{%- set zone = dbt_date._zone(tz) -%}
{%- if zone -%}to_local_time(now() at time zone '{{ zone }}'){%- else -%}cast(now() as timestamp){%- endif -%}
{%- endmacro %}

{% macro today(tz=none) %}cast({{ dbt_date.now(tz) }} as date){% endmacro %}
{% macro yesterday(date=none, tz=none) %}{{ dbt_date.n_days_ago(1, date, tz) }}{% endmacro %}
{% macro tomorrow(date=none, tz=none) %}{{ dbt_date.n_days_away(1, date, tz) }}{% endmacro %}

{% macro n_days_ago(n, date=none, tz=none) -%}
cast({{ date or dbt_date.today(tz) }} - interval '{{ n }} day' as date)
{%- endmacro %}

{% macro n_days_away(n, date=none, tz=none) -%}
cast({{ date or dbt_date.today(tz) }} + interval '{{ n }} day' as date)
{%- endmacro %}

{% macro n_weeks_ago(n, tz=none) %}cast(date_trunc('week', {{ dbt_date.today(tz) }}) - interval '{{ n * 7 }} day' as date){% endmacro %}
{% macro n_weeks_away(n, tz=none) %}cast(date_trunc('week', {{ dbt_date.today(tz) }}) + interval '{{ n * 7 }} day' as date){% endmacro %}
{% macro n_months_ago(n, tz=none) %}cast(date_trunc('month', {{ dbt_date.today(tz) }}) - interval '{{ n }} month' as date){% endmacro %}
{% macro n_months_away(n, tz=none) %}cast(date_trunc('month', {{ dbt_date.today(tz) }}) + interval '{{ n }} month' as date){% endmacro %}
{% macro last_week(tz=none) %}{{ dbt_date.n_weeks_ago(1, tz) }}{% endmacro %}
{% macro next_week(tz=none) %}{{ dbt_date.n_weeks_away(1, tz) }}{% endmacro %}
{% macro last_month(tz=none) %}{{ dbt_date.n_months_ago(1, tz) }}{% endmacro %}
{% macro next_month(tz=none) %}{{ dbt_date.n_months_away(1, tz) }}{% endmacro %}
{% macro last_month_number(tz=none) %}{{ dbt_date.date_part('month', dbt_date.last_month(tz)) }}{% endmacro %}
{% macro next_month_number(tz=none) %}{{ dbt_date.date_part('month', dbt_date.next_month(tz)) }}{% endmacro %}
{% macro last_month_name(short=true, tz=none) %}{{ dbt_date.month_name(dbt_date.last_month(tz), short) }}{% endmacro %}
{% macro next_month_name(short=true, tz=none) %}{{ dbt_date.month_name(dbt_date.next_month(tz), short) }}{% endmacro %}

{% macro date_part(datepart, date) %}cast(date_part('{{ datepart }}', {{ date }}) as bigint){% endmacro %}
{% macro day_of_month(date) %}{{ dbt_date.date_part('day', date) }}{% endmacro %}
{% macro day_of_year(date) %}{{ dbt_date.date_part('doy', date) }}{% endmacro %}

{% macro day_of_week(date, isoweek=true) -%}
{%- if isoweek -%}
cast((date_part('dow', {{ date }}) + 6) % 7 + 1 as bigint)
{%- else -%}
cast(date_part('dow', {{ date }}) + 1 as bigint)
{%- endif -%}
{%- endmacro %}

{% macro day_name(date, short=true, language='default') %}to_char({{ date }}, '{{ '%a' if short else '%A' }}'){% endmacro %}
{% macro month_name(date, short=true, language='default') %}to_char({{ date }}, '{{ '%b' if short else '%B' }}'){% endmacro %}
{% macro iso_week_start(date=none, tz=none) %}cast(date_trunc('week', {{ date or dbt_date.today(tz) }}) as date){% endmacro %}
{% macro iso_week_end(date=none, tz=none) %}cast(date_trunc('week', {{ date or dbt_date.today(tz) }}) + interval '6 day' as date){% endmacro %}
{% macro iso_week_of_year(date=none, tz=none) %}{{ dbt_date.date_part('week', date or dbt_date.today(tz)) }}{% endmacro %}

{% macro week_start(date=none, tz=none) -%}
{%- set day = date or dbt_date.today(tz) -%}
cast(date_trunc('week', {{ day }} + interval '1 day') - interval '1 day' as date)
{%- endmacro %}

{% macro week_end(date=none, tz=none) -%}
{%- set day = date or dbt_date.today(tz) -%}
cast(date_trunc('week', {{ day }} + interval '1 day') + interval '5 day' as date)
{%- endmacro %}

{% macro week_of_year(date=none, tz=none) -%}
{%- set day = date or dbt_date.today(tz) -%}
{{ dbt_date.date_part('week', '(' ~ day ~ " + interval '1 day')") }}
{%- endmacro %}

{% macro to_unixtimestamp(timestamp) %}cast(date_part('epoch', {{ timestamp }}) as bigint){% endmacro %}

{% macro from_unixtimestamp(epochs, format='seconds') -%}
{%- set names = {'seconds': 'to_timestamp_seconds', 'milliseconds': 'to_timestamp_millis', 'microseconds': 'to_timestamp_micros', 'nanoseconds': 'to_timestamp_nanos'} -%}
{%- if format not in names -%}
{{ exceptions.raise_compiler_error("from_unixtimestamp() does not know the format " ~ format) }}
{%- endif -%}
cast({{ names[format] }}({{ epochs }}) as timestamp)
{%- endmacro %}

{% macro round_timestamp(timestamp) %}date_trunc('day', {{ timestamp }} + interval '12 hours'){% endmacro %}

{% macro periods_since(date_col, period_name='day', tz=none) -%}
{{ dbt.datediff(date_col, dbt_date.now(tz), period_name) }}
{%- endmacro %}

{% macro get_base_dates(start_date=none, end_date=none, n_dateparts=none, datepart='day') -%}
{%- if start_date and end_date -%}
{%- set first = "cast('" ~ start_date ~ "' as timestamp)" -%}
{%- set last = "cast('" ~ end_date ~ "' as timestamp)" -%}
{%- elif n_dateparts and datepart -%}
{%- set first = "date_trunc('" ~ datepart ~ "', cast(" ~ dbt_date.now() ~ " - interval '" ~ n_dateparts ~ " " ~ datepart ~ "' as timestamp))" -%}
{%- set last = "date_trunc('" ~ datepart ~ "', cast(" ~ dbt_date.now() ~ " + interval '1 " ~ datepart ~ "' as timestamp))" -%}
{%- else -%}
{{ exceptions.raise_compiler_error("get_base_dates() needs start_date and end_date, or n_dateparts and datepart") }}
{%- endif -%}
select cast(spine.date_{{ datepart }} as timestamp) as date_{{ datepart }}
from ({{ dbt_utils.date_spine(datepart, first, last) }}) as spine
{%- endmacro %}

{% macro get_date_dimension(start_date, end_date) -%}
with base_dates as (
    select cast(date_day as date) as date_day
    from ({{ dbt_date.get_base_dates(start_date, end_date) }}) as days
), years as (
    select
        date_day,
        cast(date_day - interval '1 year' as date) as prior_year_date_day,
        cast(date_day - interval '364 day' as date) as prior_year_over_year_date_day
    from base_dates
)
select
    date_day,
    cast(date_day - interval '1 day' as date) as prior_date_day,
    cast(date_day + interval '1 day' as date) as next_date_day,
    prior_year_date_day,
    prior_year_over_year_date_day,
    {{ dbt_date.day_of_week('date_day', isoweek=false) }} as day_of_week,
    {{ dbt_date.day_of_week('date_day', isoweek=true) }} as day_of_week_iso,
    {{ dbt_date.day_name('date_day', short=false) }} as day_of_week_name,
    {{ dbt_date.day_name('date_day', short=true) }} as day_of_week_name_short,
    {{ dbt_date.day_of_month('date_day') }} as day_of_month,
    {{ dbt_date.day_of_year('date_day') }} as day_of_year,
    {{ dbt_date.week_start('date_day') }} as week_start_date,
    {{ dbt_date.week_end('date_day') }} as week_end_date,
    {{ dbt_date.week_start('prior_year_over_year_date_day') }} as prior_year_week_start_date,
    {{ dbt_date.week_end('prior_year_over_year_date_day') }} as prior_year_week_end_date,
    {{ dbt_date.week_of_year('date_day') }} as week_of_year,
    {{ dbt_date.iso_week_start('date_day') }} as iso_week_start_date,
    {{ dbt_date.iso_week_end('date_day') }} as iso_week_end_date,
    {{ dbt_date.iso_week_start('prior_year_over_year_date_day') }} as prior_year_iso_week_start_date,
    {{ dbt_date.iso_week_end('prior_year_over_year_date_day') }} as prior_year_iso_week_end_date,
    {{ dbt_date.iso_week_of_year('date_day') }} as iso_week_of_year,
    {{ dbt_date.week_of_year('prior_year_over_year_date_day') }} as prior_year_week_of_year,
    {{ dbt_date.iso_week_of_year('prior_year_over_year_date_day') }} as prior_year_iso_week_of_year,
    {{ dbt_date.date_part('month', 'date_day') }} as month_of_year,
    {{ dbt_date.month_name('date_day', short=false) }} as month_name,
    {{ dbt_date.month_name('date_day', short=true) }} as month_name_short,
    cast(date_trunc('month', date_day) as date) as month_start_date,
    {{ dbt.last_day('date_day', 'month') }} as month_end_date,
    cast(date_trunc('month', prior_year_date_day) as date) as prior_year_month_start_date,
    {{ dbt.last_day('prior_year_date_day', 'month') }} as prior_year_month_end_date,
    {{ dbt_date.date_part('quarter', 'date_day') }} as quarter_of_year,
    cast(date_trunc('quarter', date_day) as date) as quarter_start_date,
    {{ dbt.last_day('date_day', 'quarter') }} as quarter_end_date,
    {{ dbt_date.date_part('year', 'date_day') }} as year_number,
    cast(date_trunc('year', date_day) as date) as year_start_date,
    {{ dbt.last_day('date_day', 'year') }} as year_end_date
from years
{%- endmacro %}
