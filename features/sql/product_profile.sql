-- What a product is, in the newest version known. One row per product and moment.
select
    spine.product_id,
    spine.event_timestamp,
    p.category,
    p.brand,
    p.price as list_price,
    p.margin_rate,
    case
        when p.launched_at is not null
            then least(greatest(date_diff('day', cast(p.launched_at as date), cast(spine.event_timestamp as date)), 0), 365)
    end as age_days_365
from spine
left join product_versions as p
    on p.product_id = spine.product_id
    and p.visible_at < spine.event_timestamp
    and p.superseded_at >= spine.event_timestamp
