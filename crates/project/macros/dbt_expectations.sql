{# The tests of dbt_expectations that projects use most, written for the SQL of this program. #}

{% macro _rows(model, row_condition=none) -%}
(select * from {{ model }}{{ ' where ' ~ row_condition if row_condition }}) as tested
{%- endmacro %}

{% macro _outside(expression, min_value=none, max_value=none, strictly=false) -%}
1 = 2
{%- if min_value is not none %} or not ({{ expression }} >{{ '' if strictly else '=' }} {{ min_value }}){% endif %}
{%- if max_value is not none %} or not ({{ expression }} <{{ '' if strictly else '=' }} {{ max_value }}){% endif %}
{%- endmacro %}

{% test expect_column_to_exist(model, column_name, column_index=none, transform='upper') %}
select {{ column_name }} from {{ model }} where 1 = 2
{% endtest %}

{% test expression_is_true(model, expression, group_by_columns=none, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where not ({{ expression }})
{% endtest %}

{% test expect_column_values_to_not_be_null(model, column_name, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where {{ column_name }} is null
{% endtest %}

{% test expect_column_values_to_be_null(model, column_name, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where {{ column_name }} is not null
{% endtest %}

{% test expect_column_values_to_be_unique(model, column_name, row_condition=none) %}
select {{ column_name }}, count(*) as n from {{ dbt_expectations._rows(model, row_condition) }}
where {{ column_name }} is not null group by {{ column_name }} having count(*) > 1
{% endtest %}

{% test expect_column_values_to_be_between(model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where {{ dbt_expectations._outside(column_name, min_value, max_value, strictly) }}
{% endtest %}

{% test expect_column_values_to_be_in_set(model, column_name, value_set, quote_values=true, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }}
where {{ column_name }} not in ({% for value in value_set %}{{ "'" ~ value ~ "'" if quote_values else value }}{{ ', ' if not loop.last }}{% endfor %})
{% endtest %}

{% test expect_column_values_to_not_be_in_set(model, column_name, value_set, quote_values=true, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }}
where {{ column_name }} in ({% for value in value_set %}{{ "'" ~ value ~ "'" if quote_values else value }}{{ ', ' if not loop.last }}{% endfor %})
{% endtest %}

{% test expect_column_values_to_match_regex(model, column_name, regex, row_condition=none, is_raw=false, flags='') %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where not regexp_like({{ column_name }}, '{{ regex }}')
{% endtest %}

{% test expect_column_values_to_not_match_regex(model, column_name, regex, row_condition=none, is_raw=false, flags='') %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where regexp_like({{ column_name }}, '{{ regex }}')
{% endtest %}

{% test expect_column_value_lengths_to_equal(model, column_name, value, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where length({{ column_name }}) <> {{ value }}
{% endtest %}

{% test expect_column_value_lengths_to_be_between(model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where {{ dbt_expectations._outside('length(' ~ column_name ~ ')', min_value, max_value, strictly) }}
{% endtest %}

{% test expect_column_pair_values_A_to_be_greater_than_B(model, column_A, column_B, or_equal=false, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where not ({{ column_A }} >{{ '=' if or_equal }} {{ column_B }})
{% endtest %}

{% test expect_column_pair_values_to_be_equal(model, column_A, column_B, row_condition=none) %}
select * from {{ dbt_expectations._rows(model, row_condition) }} where not ({{ column_A }} = {{ column_B }})
{% endtest %}

{% test expect_compound_columns_to_be_unique(model, column_list, ignore_row_if='all_values_are_missing', quote_columns=false, row_condition=none) %}
select {{ column_list | join(', ') }}, count(*) as n from {{ dbt_expectations._rows(model, row_condition) }}
where not ({% for column in column_list %}{{ column }} is null{{ (' or ' if ignore_row_if == 'any_value_is_missing' else ' and ') if not loop.last }}{% endfor %})
group by {{ column_list | join(', ') }} having count(*) > 1
{% endtest %}

{% test expect_table_row_count_to_be_between(model, min_value=none, max_value=none, group_by=none, row_condition=none, strictly=false) %}
select n from (select count(*) as n from {{ dbt_expectations._rows(model, row_condition) }}) as counted where {{ dbt_expectations._outside('n', min_value, max_value, strictly) }}
{% endtest %}

{% test expect_table_row_count_to_equal(model, value, group_by=none, row_condition=none) %}
select n from (select count(*) as n from {{ dbt_expectations._rows(model, row_condition) }}) as counted where n <> {{ value }}
{% endtest %}

{% test expect_table_row_count_to_equal_other_table(model, compare_model, group_by=none, factor=1, row_condition=none, compare_row_condition=none) %}
select a.n, b.n as compared from (select count(*) as n from {{ dbt_expectations._rows(model, row_condition) }}) as a
cross join (select count(*) as n from {{ dbt_expectations._rows(compare_model, compare_row_condition) }}) as b where a.n <> b.n * {{ factor }}
{% endtest %}

{% test expect_column_distinct_count_to_equal(model, column_name, value, quote_values=false, group_by=none, row_condition=none) %}
select n from (select count(distinct {{ column_name }}) as n from {{ dbt_expectations._rows(model, row_condition) }}) as counted where n <> {{ value }}
{% endtest %}

{% test expect_column_distinct_count_to_be_greater_than(model, column_name, value, quote_values=false, group_by=none, row_condition=none) %}
select n from (select count(distinct {{ column_name }}) as n from {{ dbt_expectations._rows(model, row_condition) }}) as counted where not n > {{ value }}
{% endtest %}

{% test expect_column_sum_to_be_between(model, column_name, min_value=none, max_value=none, group_by=none, row_condition=none, strictly=false) %}
select n from (select sum({{ column_name }}) as n from {{ dbt_expectations._rows(model, row_condition) }}) as summed where {{ dbt_expectations._outside('n', min_value, max_value, strictly) }}
{% endtest %}

{% test expect_column_max_to_be_between(model, column_name, min_value=none, max_value=none, group_by=none, row_condition=none, strictly=false) %}
select n from (select max({{ column_name }}) as n from {{ dbt_expectations._rows(model, row_condition) }}) as largest where {{ dbt_expectations._outside('n', min_value, max_value, strictly) }}
{% endtest %}

{% test expect_column_min_to_be_between(model, column_name, min_value=none, max_value=none, group_by=none, row_condition=none, strictly=false) %}
select n from (select min({{ column_name }}) as n from {{ dbt_expectations._rows(model, row_condition) }}) as smallest where {{ dbt_expectations._outside('n', min_value, max_value, strictly) }}
{% endtest %}

{% test expect_column_mean_to_be_between(model, column_name, min_value=none, max_value=none, group_by=none, row_condition=none, strictly=false) %}
select n from (select avg({{ column_name }}) as n from {{ dbt_expectations._rows(model, row_condition) }}) as mean where {{ dbt_expectations._outside('n', min_value, max_value, strictly) }}
{% endtest %}

{% test expect_column_values_to_be_increasing(model, column_name, sort_column=none, strictly=true, row_condition=none, group_by=none, step=none) %}
select * from (select {{ column_name }} as v, lag({{ column_name }}) over (order by {{ sort_column or column_name }}) as before
from {{ dbt_expectations._rows(model, row_condition) }}) as steps where before is not null and not v >{{ '' if strictly else '=' }} before
{% endtest %}

{% test expect_row_values_to_have_recent_data(model, column_name, datepart, interval, row_condition=none) %}
select max({{ column_name }}) as newest from {{ dbt_expectations._rows(model, row_condition) }}
having max(cast({{ column_name }} as timestamp)) is null or max(cast({{ column_name }} as timestamp)) < cast(now() as timestamp) - interval '{{ interval }} {{ datepart }}'
{% endtest %}
