{% macro flywheel__catalog_of(condition) -%}
  select
    'flywheel' as table_database,
    c.table_schema as table_schema,
    c.table_name as table_name,
    case when t.kind = 'view' then 'VIEW' else 'BASE TABLE' end as table_type,
    cast(null as text) as table_comment,
    cast(null as text) as table_owner,
    c.column_name as column_name,
    cast(c.ordinal_position as bigint) + 1 as column_index,
    c.data_type as column_type,
    cast(null as text) as column_comment
  from information_schema.columns as c
  join system.tables as t on t.name = concat(c.table_schema, '.', c.table_name)
  where {{ condition }}
  order by table_schema, table_name, column_index
{%- endmacro %}

{% macro flywheel__get_catalog(information_schema, schemas) -%}
  {% set names = [] %}
  {% for schema in schemas %}
    {% do names.append(dbt.string_literal(schema)) %}
  {% endfor %}
  {% set condition = 'c.table_schema in (' ~ names | join(', ') ~ ')' if names else 'false' %}
  {{ return(run_query(flywheel__catalog_of(condition))) }}
{%- endmacro %}

{% macro flywheel__get_catalog_relations(information_schema, relations) -%}
  {% set names = [] %}
  {% for relation in relations %}
    {% if relation.schema and relation.identifier %}
      {% do names.append(
        "(c.table_schema = " ~ dbt.string_literal(relation.schema)
        ~ " and c.table_name = " ~ dbt.string_literal(relation.identifier) ~ ")") %}
    {% elif relation.schema %}
      {% do names.append("(c.table_schema = " ~ dbt.string_literal(relation.schema) ~ ")") %}
    {% endif %}
  {% endfor %}
  {{ return(run_query(flywheel__catalog_of(names | join(' or ') if names else 'false'))) }}
{%- endmacro %}

{% macro flywheel__get_catalog_for_single_relation(relation) -%}
  {% set condition = "c.table_schema = " ~ dbt.string_literal(relation.schema)
     ~ " and c.table_name = " ~ dbt.string_literal(relation.identifier) %}
  {{ return(run_query(flywheel__catalog_of(condition))) }}
{%- endmacro %}
