{# With a key, rows are merged: that is one commit. `delete+insert` and `microbatch` are two. #}
{% macro flywheel__get_incremental_default_sql(arg_dict) -%}
  {% if arg_dict['unique_key'] %}
    {{ return(get_incremental_merge_sql(arg_dict)) }}
  {% else %}
    {{ return(get_incremental_append_sql(arg_dict)) }}
  {% endif %}
{%- endmacro %}

{# The conditions under which a row of the source is one of the target. #}
{% macro flywheel__same_key(unique_key) -%}
  {% set keys = unique_key if unique_key is sequence and unique_key is not string else [unique_key] %}
  {% set conditions = [] %}
  {% for key in keys %}
    {% do conditions.append('DBT_INTERNAL_SOURCE.' ~ key ~ ' = DBT_INTERNAL_DEST.' ~ key) %}
  {% endfor %}
  {{ return(conditions) }}
{%- endmacro %}

{% macro flywheel__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
  {%- set predicates = [] if incremental_predicates is none else [] + incremental_predicates -%}
  {%- set update_columns = get_merge_update_columns(
        config.get('merge_update_columns'), config.get('merge_exclude_columns'), dest_columns) -%}
  {%- set predicates = predicates + (flywheel__same_key(unique_key) if unique_key else ['false']) -%}
  {%- set sql_header = config.get('sql_header', none) -%}
  {{ sql_header if sql_header is not none }}
  merge into {{ target.render() }} as DBT_INTERNAL_DEST
  using {{ source.render() }} as DBT_INTERNAL_SOURCE
  on ({{ predicates | join(') and (') }})
  {%- if unique_key and update_columns %}
  when matched then update set
    {% for column in update_columns -%}
      {{ column }} = DBT_INTERNAL_SOURCE.{{ column }}{{ ', ' if not loop.last }}
    {%- endfor %}
  {%- endif %}
  when not matched then insert ({{ get_quoted_csv(dest_columns | map(attribute='name')) }})
  values (
    {%- for column in dest_columns -%}
      DBT_INTERNAL_SOURCE.{{ column.quoted }}{{ ', ' if not loop.last }}
    {%- endfor -%}
  )
{%- endmacro %}

{% macro flywheel__get_delete_insert_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) -%}
  {%- set dest_cols_csv = get_quoted_csv(dest_columns | map(attribute='name')) -%}
  {% if unique_key %}
  delete from {{ target.render() }} as DBT_INTERNAL_DEST
  where exists (
    select 1 from {{ source.render() }} as DBT_INTERNAL_SOURCE
    where {{ flywheel__same_key(unique_key) | join(' and ') }}
  )
  {%- for predicate in incremental_predicates or [] %}
    and {{ predicate }}
  {%- endfor %};
  {% endif %}
  insert into {{ target.render() }} ({{ dest_cols_csv }})
  select {{ dest_cols_csv }} from {{ source.render() }}
{%- endmacro %}

{% macro flywheel__get_incremental_microbatch_sql(arg_dict) -%}
  {%- set target = arg_dict['target_relation'] -%}
  {%- set source = arg_dict['temp_relation'] -%}
  {%- set dest_cols_csv = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
  {%- set predicates = [] if arg_dict.get('incremental_predicates') is none else [] + arg_dict.get('incremental_predicates') -%}
  {%- if model.batch and model.batch.event_time_start -%}
    {%- do predicates.append("DBT_INTERNAL_TARGET." ~ model.config.event_time ~ " >= cast('" ~ model.batch.event_time_start.strftime('%Y-%m-%d %H:%M:%S') ~ "' as timestamp)") -%}
  {%- endif -%}
  {%- if model.batch and model.batch.event_time_end -%}
    {%- do predicates.append("DBT_INTERNAL_TARGET." ~ model.config.event_time ~ " < cast('" ~ model.batch.event_time_end.strftime('%Y-%m-%d %H:%M:%S') ~ "' as timestamp)") -%}
  {%- endif -%}
  delete from {{ target.render() }} as DBT_INTERNAL_TARGET
  where {{ predicates | join(' and ') if predicates else 'true' }};
  insert into {{ target.render() }} ({{ dest_cols_csv }})
  select {{ dest_cols_csv }} from {{ source.render() }}
{%- endmacro %}
