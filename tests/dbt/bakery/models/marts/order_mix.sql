{%- set kinds = product_kinds(ref('stg_products')) -%}

select
    items.order_id,
    {%- for kind in kinds %}
    count(case when products.product_type = '{{ kind }}' then 1 end) as count_{{ kind }},
    {%- endfor %}
    count(*) as count_all
from {{ ref('stg_items') }} as items
left join {{ ref('stg_products') }} as products on items.product_id = products.product_id
group by 1
