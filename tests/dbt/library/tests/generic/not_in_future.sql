{% test not_before(model, column_name, day) %}
select {{ column_name }} from {{ model }} where {{ column_name }} < cast('{{ day }}' as date)
{% endtest %}
