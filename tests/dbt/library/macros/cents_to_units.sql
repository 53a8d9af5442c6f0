{# Money is kept in cents and shown in units. #}
{% macro cents_to_units(column, digits=2) -%}
    {{ return(adapter.dispatch('cents_to_units', 'library')(column, digits)) }}
{%- endmacro %}

{% macro default__cents_to_units(column, digits) -%}
    round(cast({{ column }} as double) / 100, {{ digits }})
{%- endmacro %}
