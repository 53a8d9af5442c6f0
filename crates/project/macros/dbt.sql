{# The macros of dbt that hide how databases differ, for the SQL of this program. #}

{% macro type_string() %}varchar{% endmacro %}
{% macro type_timestamp() %}timestamp{% endmacro %}
{% macro type_float() %}double{% endmacro %}
{% macro type_numeric() %}decimal(28, 6){% endmacro %}
{% macro type_int() %}int{% endmacro %}
{% macro type_bigint() %}bigint{% endmacro %}
{% macro type_boolean() %}boolean{% endmacro %}

{% macro current_timestamp() %}now(){% endmacro %}
{% macro current_timestamp_backcompat() %}now(){% endmacro %}
{% macro current_timestamp_in_utc_backcompat() %}now(){% endmacro %}
{% macro date_trunc(datepart, date) %}date_trunc('{{ datepart }}', {{ date }}){% endmacro %}

{% macro dateadd(datepart, interval, from_date_or_timestamp) -%}
{%- set part = datepart | string | lower -%}
{%- set unit = 'month' if part == 'quarter' else part -%}
{%- set times = 3 if part == 'quarter' else 1 -%}
{%- if interval is integer or (interval | string | replace('-', '')).isdigit() -%}
({{ from_date_or_timestamp }} + interval '{{ (interval | int) * times }} {{ unit }}')
{%- else -%}
({{ from_date_or_timestamp }} + cast(cast(cast({{ interval }} as bigint) * {{ times }} as varchar) || ' {{ unit }}' as interval))
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
{%- elif part in ['millisecond', 'microsecond', 'nanosecond'] -%}
{%- set divisor = {'millisecond': 1000000, 'microsecond': 1000, 'nanosecond': 1}[part] -%}
(cast({{ second }} as bigint) // {{ divisor }} - cast({{ first }} as bigint) // {{ divisor }})
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
array_to_string(array_slice(array_agg({{ measure }}{{ ' ' ~ order_by_clause if order_by_clause }}), 1, {{ limit_num }}), {{ delimiter_text }})
{%- else -%}
string_agg({{ measure }}, {{ delimiter_text }}{{ ' ' ~ order_by_clause if order_by_clause }})
{%- endif -%}
{%- endmacro %}

{% macro date(year, month, day) %}make_date({{ year }}, {{ month }}, {{ day }}){% endmacro %}

{% macro date_spine(datepart, start_date, end_date) %}
select unnest(range(cast({{ start_date }} as timestamp), cast({{ end_date }} as timestamp), interval '1 {{ datepart }}')) as date_{{ datepart }}
{% endmacro %}

{% macro generate_series(upper_bound) %}
select unnest(range(1, {{ upper_bound }} + 1)) as generated_number
{% endmacro %}

{% macro get_powers_of_two(upper_bound) -%}
{%- if upper_bound <= 0 -%}{{ exceptions.raise_compiler_error("upper bound must be positive") }}{%- endif -%}
{%- for _ in range(1, 100) -%}
{%- if upper_bound <= 2 ** loop.index -%}{{ return(loop.index) }}{%- endif -%}
{%- endfor -%}
{%- endmacro %}

{% macro get_intervals_between(start_date, end_date, datepart) -%}
{%- call statement('get_intervals_between', fetch_result=True) -%}
select {{ dbt.datediff(start_date, end_date, datepart) }}
{%- endcall -%}
{%- set found = load_result('get_intervals_between') -%}
{%- if found and found['data'] -%}{{ return((found['data'] | map(attribute=0) | list)[0]) }}
{%- else -%}{{ return(1) }}
{%- endif -%}
{%- endmacro %}

{% macro array_construct(inputs=[], data_type='int') -%}
{%- if inputs | length > 0 -%}array[{{ inputs | join(', ') }}]
{%- else -%}cast([] as {{ data_type }}[])
{%- endif -%}
{%- endmacro %}
{% macro array_append(array, new_element) %}array_append({{ array }}, {{ new_element }}){% endmacro %}
{% macro array_concat(array_1, array_2) %}array_concat({{ array_1 }}, {{ array_2 }}){% endmacro %}
{% macro equals(expr1, expr2) %}({{ expr1 }} is not distinct from {{ expr2 }}){% endmacro %}

{# Hooks have no transactions here, so they are run as they stand. #}
{% macro before_begin(sql) %}{{ return(tojson({'sql': sql, 'transaction': false})) }}{% endmacro %}
{% macro in_transaction(sql) %}{{ return(tojson({'sql': sql, 'transaction': true})) }}{% endmacro %}
{% macro after_commit(sql) %}{{ return(tojson({'sql': sql, 'transaction': false})) }}{% endmacro %}

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
