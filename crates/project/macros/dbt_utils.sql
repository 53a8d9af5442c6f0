{# What dbt_utils offers and projects use most, written for the SQL of this program. #}

{% macro generate_surrogate_key(field_list) -%}
{%- set absent = '' if var('surrogate_key_treat_nulls_as_empty_strings', false) else '_dbt_utils_surrogate_key_null_' -%}
md5(cast(
{%- for field in field_list -%}
coalesce(cast({{ field }} as varchar), '{{ absent }}')
{%- if not loop.last %} || '-' || {% endif -%}
{%- endfor %} as varchar))
{%- endmacro %}

{% macro surrogate_key(field_list, more=none) -%}
{{ exceptions.raise_compiler_error("surrogate_key() is generate_surrogate_key() since dbt_utils 1.0, with a list of columns; to keep the keys of before, set the variable surrogate_key_treat_nulls_as_empty_strings to true") }}
{%- endmacro %}

{% macro get_filtered_columns_in_relation(from, except=[]) -%}
{%- set left_out = except | map('lower') | list -%}
{%- set kept = [] -%}
{%- for column in adapter.get_columns_in_relation(from) -%}
{%- if column.name | lower not in left_out -%}{%- do kept.append(column.name) -%}{%- endif -%}
{%- endfor -%}
{{ return(kept) }}
{%- endmacro %}

{% macro star(from, relation_alias=none, except=[], prefix='', suffix='', quote_identifiers=true) -%}
{%- set columns = dbt_utils.get_filtered_columns_in_relation(from, except) -%}
{%- if not columns -%}
{{ return('*') }}
{%- endif -%}
{%- for name in columns -%}
{{ relation_alias ~ '.' if relation_alias }}{{ adapter.quote(name) if quote_identifiers else name }}
{%- if prefix or suffix %} as {{ adapter.quote(prefix ~ name ~ suffix) if quote_identifiers else prefix ~ name ~ suffix }}{% endif -%}
{{ ', ' if not loop.last }}
{%- endfor -%}
{%- endmacro %}

{% macro date_spine(datepart, start_date, end_date) %}
select unnest(range(cast({{ start_date }} as timestamp), cast({{ end_date }} as timestamp), interval '1 {{ datepart }}')) as date_{{ datepart }}
{% endmacro %}

{% macro generate_series(upper_bound) %}
select unnest(range(1, {{ upper_bound }} + 1)) as generated_number
{% endmacro %}

{% macro group_by(n) -%}
group by {% for i in range(1, n + 1) %}{{ i }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro pivot(column, values, alias=true, agg='sum', cmp='=', prefix='', suffix='', then_value=1, else_value=0, quote_identifiers=true, distinct=false) -%}
{%- for value in values -%}
{{ agg }}({{ 'distinct ' if distinct }}case when {{ column }} {{ cmp }} '{{ value | replace("'", "''") }}' then {{ then_value }} else {{ else_value }} end)
{%- if alias %} as {{ adapter.quote(prefix ~ value ~ suffix) if quote_identifiers else prefix ~ value ~ suffix }}{% endif -%}
{{ ', ' if not loop.last }}
{% endfor -%}
{%- endmacro %}

{% macro unpivot(relation, cast_to='varchar', exclude=[], remove=[], field_name='field_name', value_name='value', quote_identifiers=false) -%}
{%- set kept = exclude | map('lower') | list -%}
{%- set gone = remove | map('lower') | list -%}
{%- set columns = adapter.get_columns_in_relation(relation) -%}
{%- set turned = [] -%}
{%- for column in columns -%}
{%- if column.name | lower not in kept and column.name | lower not in gone -%}{%- do turned.append(column.name) -%}{%- endif -%}
{%- endfor -%}
{%- for name in turned %}
select {% for other in exclude %}{{ other }}, {% endfor %}cast('{{ name }}' as varchar) as {{ field_name }}, cast({{ adapter.quote(name) }} as {{ cast_to }}) as {{ value_name }}
from {{ relation }}
{{ 'union all' if not loop.last }}
{%- else %}
select * from {{ relation }}
{%- endfor -%}
{%- endmacro %}

{% macro union_relations(relations, column_override={}, include=[], exclude=[], source_column_name='_dbt_source_relation', where=none) -%}
{%- set names = [] -%}
{%- set types = {} -%}
{%- for relation in relations -%}
{%- for column in adapter.get_columns_in_relation(relation) -%}
{%- if column.name not in names and column.name not in exclude and (not include or column.name in include) -%}
{%- do names.append(column.name) -%}
{%- do types.update({column.name: column_override.get(column.name, column.data_type)}) -%}
{%- endif -%}
{%- endfor -%}
{%- endfor -%}
{%- for relation in relations %}
{%- set own = adapter.get_columns_in_relation(relation) | map(attribute='name') | list %}
(select {% if source_column_name %}cast('{{ relation }}' as varchar) as {{ source_column_name }}{{ ', ' if names }}{% endif %}
{%- for name in names -%}
cast({{ adapter.quote(name) if name in own else 'null' }} as {{ types[name] }}) as {{ adapter.quote(name) }}{{ ', ' if not loop.last }}
{%- endfor %}
from {{ relation }}{{ ' where ' ~ where if where }})
{{ 'union all' if not loop.last }}
{%- endfor -%}
{%- endmacro %}

{% macro safe_add(field_list) -%}
{%- for field in field_list -%}coalesce({{ field }}, 0){{ ' + ' if not loop.last }}{%- endfor -%}
{%- endmacro %}

{% macro safe_subtract(field_list) -%}
{%- for field in field_list -%}coalesce({{ field }}, 0){{ ' - ' if not loop.last }}{%- endfor -%}
{%- endmacro %}

{% macro safe_divide(numerator, denominator) %}({{ numerator }}) / nullif(({{ denominator }}), 0){% endmacro %}

{% macro deduplicate(relation, partition_by, order_by) %}
select * from {{ relation }} qualify row_number() over (partition by {{ partition_by }} order by {{ order_by }}) = 1
{% endmacro %}

{% macro slugify(string) -%}
{{ string | lower | trim | replace(' ', '_') | replace('-', '_') }}
{%- endmacro %}

{% macro get_column_values(table, column, order_by='count(*) desc', max_records=none, default=none, where=none) -%}
{%- if not execute -%}{{ return(default or []) }}{%- endif -%}
{%- set found = run_query('select ' ~ column ~ ' as value from ' ~ table ~ (' where ' ~ where if where else '') ~ ' group by ' ~ column ~ ' order by ' ~ order_by ~ ', ' ~ column ~ (' limit ' ~ max_records if max_records is not none else '')) -%}
{%- set values = found.columns[0].values() -%}
{{ return(values if values else (default or [])) }}
{%- endmacro %}

{% macro get_single_value(query, default=none) -%}
{%- if not execute -%}{{ return(default) }}{%- endif -%}
{%- set values = run_query(query).columns[0].values() -%}
{{ return(values[0] if values and values[0] is not none else default) }}
{%- endmacro %}

{% macro get_query_results_as_dict(query) -%}
{%- set answer = run_query(query) -%}
{%- set found = {} -%}
{%- for name in answer.column_names -%}
{%- do found.update({name: answer.columns[name].values()}) -%}
{%- endfor -%}
{{ return(found) }}
{%- endmacro %}

{% macro get_relations_by_pattern(schema_pattern, table_pattern, exclude='', database=none) -%}
{{ return(adapter.find_relations(schema_pattern, table_pattern, exclude)) }}
{%- endmacro %}

{% macro get_relations_by_prefix(schema, prefix, exclude='', database=none) -%}
{{ return(adapter.find_relations(schema, prefix ~ '%', exclude)) }}
{%- endmacro %}

{% test equal_rowcount(model, compare_model) %}
select a.n, b.n as compared from (select count(*) as n from {{ model }}) a cross join (select count(*) as n from {{ compare_model }}) b
where a.n <> b.n
{% endtest %}

{% test fewer_rows_than(model, compare_model) %}
select a.n, b.n as compared from (select count(*) as n from {{ model }}) a cross join (select count(*) as n from {{ compare_model }}) b
where a.n >= b.n
{% endtest %}

{% test equality(model, compare_model, compare_columns=none, exclude_columns=none) %}
{%- set columns = compare_columns | join(', ') if compare_columns else '*' %}
(select {{ columns }} from {{ model }} except select {{ columns }} from {{ compare_model }})
union all
(select {{ columns }} from {{ compare_model }} except select {{ columns }} from {{ model }})
{% endtest %}

{% test expression_is_true(model, expression, column_name=none) %}
select * from {{ model }} where not ({{ column_name if column_name else '' }} {{ expression }})
{% endtest %}

{% test recency(model, field, datepart, interval, ignore_time_component=false, group_by_columns=[]) %}
select max({{ field }}) as most_recent from {{ model }}
having max(cast({{ field }} as timestamp)) < cast(now() as timestamp) - interval '{{ interval }} {{ datepart }}' or max({{ field }}) is null
{% endtest %}

{% test at_least_one(model, column_name, group_by_columns=[]) %}
select count({{ column_name }}) as filled from {{ model }} having count({{ column_name }}) = 0
{% endtest %}

{% test not_constant(model, column_name, group_by_columns=[]) %}
select count(distinct {{ column_name }}) as filled from {{ model }} having count(distinct {{ column_name }}) = 1
{% endtest %}

{% test not_empty_string(model, column_name, trim_whitespace=true) %}
select * from {{ model }} where {{ 'trim(' ~ column_name ~ ')' if trim_whitespace else column_name }} = ''
{% endtest %}

{% test cardinality_equality(model, column_name, to, field) %}
with a as (select {{ column_name }} as v, count(*) as n from {{ model }} group by {{ column_name }}),
b as (select {{ field }} as v, count(*) as n from {{ to }} group by {{ field }})
(select * from a except select * from b) union all (select * from b except select * from a)
{% endtest %}

{% test not_null_proportion(model, column_name, at_least=0.0, at_most=1.0, group_by_columns=[]) %}
select share from (select count({{ column_name }}) * 1.0 / nullif(count(*), 0) as share from {{ model }}) shares
where not (share >= {{ at_least }} and share <= {{ at_most }})
{% endtest %}

{% test not_accepted_values(model, column_name, values, quote=true) %}
select {{ column_name }} from {{ model }}
where {{ column_name }} in ({% for value in values %}{{ "'" ~ value ~ "'" if quote else value }}{{ ', ' if not loop.last }}{% endfor %})
{% endtest %}

{% test relationships_where(model, column_name, to, field, from_condition='1=1', to_condition='1=1') %}
select child.{{ column_name }} from (select * from {{ model }} where {{ from_condition }}) child
where child.{{ column_name }} is not null and not exists
(select 1 from (select * from {{ to }} where {{ to_condition }}) parent where parent.{{ field }} = child.{{ column_name }})
{% endtest %}

{% test unique_combination_of_columns(model, combination_of_columns, quote_columns=false) %}
select {{ combination_of_columns | join(', ') }}, count(*) as n from {{ model }}
group by {{ combination_of_columns | join(', ') }} having count(*) > 1
{% endtest %}

{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
select * from {{ model }} where 1 = 2
{%- if min_value is not none %} or not {{ column_name }} >{{ '=' if inclusive }} {{ min_value }}{% endif %}
{%- if max_value is not none %} or not {{ column_name }} <{{ '=' if inclusive }} {{ max_value }}{% endif %}
{% endtest %}

{% test sequential_values(model, column_name, interval=1, datepart=none, group_by_columns=[]) %}
select * from (select {{ column_name }} as v, lag({{ column_name }}) over (order by {{ column_name }}) as before from {{ model }}) steps
where before is not null and v <> before + {{ "interval '" ~ interval ~ " " ~ datepart ~ "'" if datepart else interval }}
{% endtest %}
