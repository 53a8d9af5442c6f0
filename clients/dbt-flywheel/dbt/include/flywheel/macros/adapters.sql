{# Names: what there is, and its columns. `system.tables` opens no table, unlike `information_schema`. #}

{% macro flywheel__information_schema_name(database) -%}
  information_schema
{%- endmacro %}

{% macro flywheel__list_schemas(database) -%}
  {{ return(run_query("select distinct schema_name from information_schema.schemata order by schema_name")) }}
{%- endmacro %}

{% macro flywheel__check_schema_exists(information_schema, schema) -%}
  {% set sql -%}
    select count(*) from information_schema.schemata where schema_name = {{ dbt.string_literal(schema) }}
  {%- endset %}
  {{ return(run_query(sql)) }}
{%- endmacro %}

{% macro flywheel__list_relations_without_caching(schema_relation) -%}
  {% set prefix = schema_relation.schema ~ '.' %}
  {% call statement('list_relations_without_caching', fetch_result=True) -%}
    select
      'flywheel' as "database",
      substr(name, {{ prefix | length + 1 }}) as name,
      {{ dbt.string_literal(schema_relation.schema) }} as "schema",
      case when kind = 'view' then 'view' else 'table' end as type
    from system.tables
    where starts_with(name, {{ dbt.string_literal(prefix) }})
  {%- endcall %}
  {{ return(load_result('list_relations_without_caching').table) }}
{%- endmacro %}

{% macro flywheel__get_columns_in_relation(relation) -%}
  {{ return(adapter.get_column_schema_from_query('select * from ' ~ relation.render() ~ ' limit 0')) }}
{%- endmacro %}

{# Making, changing and removing. One statement is one commit. #}

{% macro flywheel__create_schema(relation) -%}
  {%- call statement('create_schema') -%}
    create schema if not exists {{ adapter.quote(relation.schema) }}
  {%- endcall -%}
{%- endmacro %}

{% macro flywheel__drop_schema(relation) -%}
  {%- call statement('drop_schema') -%}
    drop schema if exists {{ adapter.quote(relation.schema) }} cascade
  {%- endcall -%}
{%- endmacro %}

{% macro flywheel__drop_relation(relation) -%}
  {%- call statement('drop_relation', auto_begin=False) -%}
    drop {{ relation.type }} if exists {{ relation.render() }}
  {%- endcall -%}
{%- endmacro %}

{% macro flywheel__get_drop_sql(relation) -%}
  drop {{ relation.type }} if exists {{ relation.render() }}
{%- endmacro %}

{% macro flywheel__rename_relation(from_relation, to_relation) -%}
  {%- call statement('rename_relation') -%}
    alter table {{ from_relation.render() }} rename to {{ to_relation.include(database=False).render() }}
  {%- endcall -%}
{%- endmacro %}

{% macro flywheel__alter_column_type(relation, column_name, new_column_type) -%}
  {%- call statement('alter_column_type') -%}
    alter table {{ relation.render() }} alter column {{ adapter.quote(column_name) }} type {{ new_column_type }}
  {%- endcall -%}
{%- endmacro %}

{% macro flywheel__alter_relation_add_remove_columns(relation, add_columns, remove_columns) -%}
  {% set changes = [] %}
  {% for column in add_columns or [] %}
    {% do changes.append('add column ' ~ column.quoted ~ ' ' ~ column.data_type) %}
  {% endfor %}
  {% for column in remove_columns or [] %}
    {% do changes.append('drop column ' ~ column.quoted) %}
  {% endfor %}
  {% if changes %}
    {% do run_query('alter table ' ~ relation.render() ~ ' ' ~ changes | join(', ')) %}
  {% endif %}
{%- endmacro %}

{# A table is replaced by its next version, so there is nothing to swap. Temporary tables are tables that are
   dropped after use. #}
{% macro flywheel__create_table_as(temporary, relation, sql) -%}
  {%- set sql_header = config.get('sql_header', none) -%}
  {{ sql_header if sql_header is not none }}
  create or replace table {{ relation.render() }}
  {%- set contract_config = config.get('contract') -%}
  {%- if contract_config.enforced and not temporary %}
    {{ get_assert_columns_equivalent(sql) }}
    {%- set sql = get_select_subquery(sql) %}
  {%- endif %}
  as
    {{ sql }}
{%- endmacro %}

{% macro flywheel__create_view_as(relation, sql) -%}
  {%- set sql_header = config.get('sql_header', none) -%}
  {{ sql_header if sql_header is not none }}
  create or replace view {{ relation.render() }}
  {%- if config.get('contract').enforced %}
    {{ get_assert_columns_equivalent(sql) }}
  {%- endif %}
  as
    {{ sql }}
{%- endmacro %}

{% macro flywheel__get_replace_view_sql(relation, sql) -%}
  {{ flywheel__create_view_as(relation, sql) }}
{%- endmacro %}

{# Moments. #}

{% macro flywheel__current_timestamp() -%}
  now()
{%- endmacro %}

{% macro flywheel__snapshot_get_time() -%}
  cast(now() as timestamp)
{%- endmacro %}

{% macro flywheel__snapshot_string_as_time(timestamp) -%}
  {{ return("cast('" ~ timestamp ~ "' as timestamp)") }}
{%- endmacro %}

{% macro flywheel__current_timestamp_backcompat() -%}
  cast(now() as timestamp)
{%- endmacro %}

{% macro flywheel__current_timestamp_in_utc_backcompat() -%}
  cast(now() as timestamp)
{%- endmacro %}

{# What a lake does not have. #}

{% macro flywheel__apply_grants(relation, grant_config, should_revoke=True) -%}
  {% if grant_config %}
    {% do exceptions.warn("grants of " ~ relation ~ " are left out: in Flywheel the rules of the project (access/*.yaml) say who reads which rows and columns") %}
  {% endif %}
{%- endmacro %}

{% macro flywheel__persist_docs(relation, model, for_relation, for_columns) -%}
  {% if (for_relation and config.persist_relation_docs() and model.description)
     or (for_columns and config.persist_column_docs() and model.columns) %}
    {% do exceptions.warn("descriptions of " ~ relation ~ " are left out: a table of the lake has no comments") %}
  {% endif %}
{%- endmacro %}
