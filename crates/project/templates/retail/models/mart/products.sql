{{ config(materialized='incremental', unique_key='product_id') }}
-- One row per product. The catalogue knows best; a product it does not know is described by its
-- newest order line, so that the project runs without a catalogue too.
with sold as (
    select
        product_id,
        first_value(description order by invoiced_at desc, invoice_no desc, description) as description,
        first_value(unit_price order by invoiced_at desc, invoice_no desc, unit_price) as unit_price,
        max(day) as last_sold_on
    from {{ ref('sales') }}
    {% if is_incremental() %}
    where invoiced_at >= (
        select coalesce(
            cast(max(last_sold_on) - interval '{{ var('lookback_days') }} days' as timestamp),
            to_timestamp(0)
        )
        from {{ this }}
    )
    {% endif %}
    group by product_id
)

select
    coalesce(sold.product_id, catalog.product_id) as product_id,
    coalesce(
        catalog.name,
        sold.description,
        {% if is_incremental() %}old.name,{% endif %}
        sold.product_id,
        catalog.product_id
    ) as name,
    catalog.name_zh,
    catalog.category,
    catalog.description,
    coalesce(catalog.list_price, sold.unit_price{% if is_incremental() %}, old.price{% endif %}) as price,
    catalog.introduced_on,
    {% if is_incremental() %}
    coalesce(sold.last_sold_on, old.last_sold_on) as last_sold_on,
    {% else %}
    sold.last_sold_on,
    {% endif %}
    catalog.product_id is not null as in_catalog,
    regexp_like(coalesce(sold.product_id, catalog.product_id), '{{ var('merchandise') }}') as merchandise
from sold
full outer join {{ ref('stg_products') }} as catalog on catalog.product_id = sold.product_id
{% if is_incremental() %}
left join {{ this }} as old on old.product_id = coalesce(sold.product_id, catalog.product_id)
-- Of the catalogue, only what is new or says something else now.
where sold.product_id is not null
    or old.product_id is null
    or not old.in_catalog
    or (old.name is distinct from catalog.name)
    or (old.category is distinct from catalog.category)
    or (old.description is distinct from catalog.description)
    or (old.price is distinct from catalog.list_price)
{% endif %}
