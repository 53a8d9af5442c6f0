{# The kinds of products there are, asked while the model that calls this is built. #}
{% macro product_kinds(products) %}
    {%- if not execute -%}
        {{ return([]) }}
    {%- endif -%}
    {%- set found = run_query('select distinct product_type from ' ~ products ~ ' order by 1') -%}
    {{ return(found.columns[0].values()) }}
{% endmacro %}
