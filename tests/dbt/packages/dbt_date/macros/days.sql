{% macro get_base_dates(start_date, end_date, datepart='day') %}
    select range as date_{{ datepart }}
    from range(timestamp '{{ start_date }}', timestamp '{{ end_date }}', interval 1 {{ datepart }})
{% endmacro %}
