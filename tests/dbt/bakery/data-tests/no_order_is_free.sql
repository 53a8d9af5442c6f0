select order_id from {{ ref('orders', v=none) }} where order_total <= 0
