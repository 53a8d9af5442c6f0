{# The macros of dbt that hide how databases differ, for the SQL of this program. #}

{% macro type_string() %}varchar{% endmacro %}
{% macro type_timestamp() %}timestamp{% endmacro %}
{% macro type_float() %}double{% endmacro %}
{% macro type_numeric() %}decimal(28, 6){% endmacro %}
{% macro type_int() %}int{% endmacro %}
{% macro type_bigint() %}bigint{% endmacro %}
{% macro type_boolean() %}boolean{% endmacro %}

{% macro current_timestamp() %}now(){% endmacro %}
{% macro date_trunc(datepart, date) %}date_trunc('{{ datepart }}', {{ date }}){% endmacro %}

{% macro dateadd(datepart, interval, from_date_or_timestamp) -%}
{%- if interval is integer or (interval | string | replace('-', '')).isdigit() -%}
({{ from_date_or_timestamp }} + interval '{{ interval }} {{ datepart }}')
{%- else -%}
{{ exceptions.raise_compiler_error("dateadd() takes a whole number, found " ~ interval) }}
{%- endif -%}
{%- endmacro %}

{% macro datediff(first_date, second_date, datepart) -%}
{%- set part = datepart | lower -%}
{%- set seconds = {'second': 1, 'minute': 60, 'hour': 3600, 'day': 86400, 'week': 604800} -%}
{%- set first = "cast(" ~ first_date ~ " as timestamp)" -%}
{%- set second = "cast(" ~ second_date ~ " as timestamp)" -%}
{%- set years = "(date_part('year', " ~ second ~ ") - date_part('year', " ~ first ~ "))" -%}
{%- if part in seconds -%}
cast((date_part('epoch', date_trunc('{{ part }}', {{ second }})) - date_part('epoch', date_trunc('{{ part }}', {{ first }}))) / {{ seconds[part] }} as bigint)
{%- elif part == 'month' -%}
cast({{ years }} * 12 + date_part('month', {{ second }}) - date_part('month', {{ first }}) as bigint)
{%- elif part == 'quarter' -%}
cast({{ years }} * 4 + date_part('quarter', {{ second }}) - date_part('quarter', {{ first }}) as bigint)
{%- elif part == 'year' -%}
cast({{ years }} as bigint)
{%- else -%}
{{ exceptions.raise_compiler_error("datediff() does not know the part " ~ datepart) }}
{%- endif -%}
{%- endmacro %}

{% macro last_day(date, datepart) -%}
cast(date_trunc('{{ datepart }}', {{ date }}) + interval '{{ '3 month' if datepart == 'quarter' else '1 ' ~ datepart }}' - interval '1 day' as date)
{%- endmacro %}

{% macro concat(fields) %}{{ fields | join(' || ') }}{% endmacro %}
{% macro hash(field) %}md5(cast({{ field }} as varchar)){% endmacro %}
{% macro length(expression) %}length({{ expression }}){% endmacro %}
{% macro position(substring_text, string_text) %}strpos({{ string_text }}, {{ substring_text }}){% endmacro %}
{% macro replace(field, old_chars, new_chars) %}replace({{ field }}, {{ old_chars }}, {{ new_chars }}){% endmacro %}
{% macro right(string_text, length_expression) %}right({{ string_text }}, {{ length_expression }}){% endmacro %}
{% macro split_part(string_text, delimiter_text, part_number) %}split_part({{ string_text }}, {{ delimiter_text }}, {{ part_number }}){% endmacro %}
{% macro cast(field, type) %}cast({{ field }} as {{ type }}){% endmacro %}
{% macro safe_cast(field, type) %}try_cast({{ field }} as {{ type }}){% endmacro %}
{% macro cast_bool_to_text(field) %}cast({{ field }} as varchar){% endmacro %}
{% macro bool_or(expression) %}bool_or({{ expression }}){% endmacro %}
{% macro any_value(expression) %}first_value({{ expression }}){% endmacro %}
{% macro except() %}except{% endmacro %}
{% macro intersect() %}intersect{% endmacro %}
{% macro escape_single_quotes(expression) %}{{ expression | replace("'", "''") }}{% endmacro %}
{% macro string_literal(value) %}'{{ value }}'{% endmacro %}

{% macro listagg(measure, delimiter_text="','", order_by_clause='', limit_num=none) -%}
{%- if limit_num -%}
{{ exceptions.raise_compiler_error("listagg() takes no limit here") }}
{%- endif -%}
string_agg({{ measure }}, {{ delimiter_text }}{{ ' ' ~ order_by_clause if order_by_clause }})
{%- endmacro %}

{% macro default__generate_schema_name(custom_schema_name, node) -%}
{%- if custom_schema_name is none -%}{{ target.schema }}
{%- else -%}{{ target.schema }}_{{ custom_schema_name | trim }}
{%- endif -%}
{%- endmacro %}

{% macro generate_schema_name_for_env(custom_schema_name, node) -%}
{%- if target.name == 'prod' and custom_schema_name is not none -%}{{ custom_schema_name | trim }}
{%- else -%}{{ target.schema }}
{%- endif -%}
{%- endmacro %}
