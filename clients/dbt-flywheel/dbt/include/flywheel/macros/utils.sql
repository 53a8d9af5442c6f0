{# Functions of dates that databases call otherwise; the rest of dbt's own works as it is. #}

{% macro flywheel__dateadd(datepart, interval, from_date_or_timestamp) -%}
  {%- set part = datepart | lower -%}
  {%- if part == 'quarter' -%}
    (cast({{ from_date_or_timestamp }} as timestamp) + cast(concat(3 * ({{ interval }}), ' month') as interval))
  {%- else -%}
    (cast({{ from_date_or_timestamp }} as timestamp) + cast(concat({{ interval }}, ' {{ part }}') as interval))
  {%- endif -%}
{%- endmacro %}

{# How many boundaries of a part lie between two dates, as dbt counts. #}
{% macro flywheel__datediff(first_date, second_date, datepart) -%}
  {%- set part = datepart | lower -%}
  {%- set seconds = {'week': 604800, 'day': 86400, 'hour': 3600, 'minute': 60, 'second': 1} -%}
  {%- if part == 'year' -%}
    ({{ flywheel__part('year', second_date) }} - {{ flywheel__part('year', first_date) }})
  {%- elif part in ('quarter', 'month') -%}
    {%- set count = 4 if part == 'quarter' else 12 -%}
    ({{ count }} * ({{ flywheel__part('year', second_date) }} - {{ flywheel__part('year', first_date) }})
      + {{ flywheel__part(part, second_date) }} - {{ flywheel__part(part, first_date) }})
  {%- elif part in seconds -%}
    (({{ flywheel__epoch(part, second_date) }} - {{ flywheel__epoch(part, first_date) }}) / {{ seconds[part] }})
  {%- elif part in ('millisecond', 'microsecond') -%}
    {%- set count = 1000 if part == 'millisecond' else 1000000 -%}
    (cast(round(date_part('epoch', date_trunc('{{ part }}', cast({{ second_date }} as timestamp))) * {{ count }}) as bigint)
      - cast(round(date_part('epoch', date_trunc('{{ part }}', cast({{ first_date }} as timestamp))) * {{ count }}) as bigint))
  {%- else -%}
    {{ exceptions.raise_compiler_error("datediff has no part '" ~ datepart ~ "' in Flywheel: use year, quarter, month, week, day, hour, minute, second, millisecond or microsecond") }}
  {%- endif -%}
{%- endmacro %}

{% macro flywheel__part(part, moment) -%}
  cast(date_part('{{ part }}', cast({{ moment }} as timestamp)) as bigint)
{%- endmacro %}

{% macro flywheel__epoch(part, moment) -%}
  cast(date_part('epoch', date_trunc('{{ part }}', cast({{ moment }} as timestamp))) as bigint)
{%- endmacro %}
