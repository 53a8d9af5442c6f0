{% macro flywheel__load_csv_rows(model, agate_table) -%}
  {% set cols_sql = get_seed_column_quoted_csv(model, agate_table.column_names) %}
  {% set statements = [] %}
  {% for chunk in adapter.seed_batches(agate_table.rows) %}
    {% set bindings = [] %}
    {% for row in chunk %}
      {% for cell in row %}
        {% do bindings.append(adapter.seed_value(cell)) %}
      {% endfor %}
    {% endfor %}
    {% set sql -%}
      insert into {{ this.render() }} ({{ cols_sql }}) values
      {% for row in chunk -%}
        ({%- for column in agate_table.column_names -%}%s{{ ',' if not loop.last }}{%- endfor -%}){{ ',' if not loop.last }}
      {%- endfor %}
    {%- endset %}
    {% do adapter.add_query(sql, bindings=bindings, abridge_sql_log=True) %}
    {% if loop.first %}
      {% do statements.append(sql) %}
    {% endif %}
  {% endfor %}
  {{ return(statements[0]) }}
{%- endmacro %}
