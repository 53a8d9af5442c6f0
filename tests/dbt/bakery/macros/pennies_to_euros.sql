{# Money is kept in pennies and shown in euros. #}

{% macro pennies_to_euros(column_name) -%}
    {{ return(adapter.dispatch('pennies_to_euros')(column_name)) }}
{%- endmacro %}

{% macro default__pennies_to_euros(column_name) -%}
    ({{ column_name }} / 100)::numeric(16, 2)
{%- endmacro %}

{% macro postgres__pennies_to_euros(column_name) -%}
    ({{ column_name }}::numeric(16, 2) / 100)
{%- endmacro %}

{% macro bigquery__pennies_to_euros(column_name) %}
    round(cast(({{ column_name }} / 100) as numeric), 2)
{% endmacro %}
