-- name: links_between
SELECT meter_id, vehicle_id, greatest(lower(valid), %(start)s) AS valid_from,
       least(upper(valid), %(end)s) AS valid_to
FROM charging_link
WHERE valid && tstzrange(%(start)s, %(end)s)
ORDER BY vehicle_id, meter_id, valid_from

-- name: overlapping_links
SELECT id, meter_id, vehicle_id, lower(valid) AS valid_from, upper(valid) AS valid_to
FROM charging_link
WHERE meter_id = %(meter_id)s AND valid && tstzrange(%(valid_from)s, %(valid_to)s)
ORDER BY lower(valid)

-- name: pairs_of_hour
-- Pairs by the rule that count in the hour that ends at `end`: both were heard in it or shortly before,
-- and nothing else has linked either before then. What is heard or linked afterwards does not change
-- the past.
SELECT meter_id, vehicle_id
FROM number_pair AS pair
JOIN device AS meter ON meter.stream = 'meter' AND meter.device_id = pair.meter_id COLLATE "C"
JOIN device AS vehicle
    ON vehicle.stream = 'vehicle' AND vehicle.device_id = pair.vehicle_id COLLATE "C"
WHERE dissolved_at IS NULL AND valid @> (%(end)s::timestamptz - interval '1 microsecond')
  AND meter.expected @> (%(end)s::timestamptz - interval '1 hour')
  AND vehicle.expected @> (%(end)s::timestamptz - interval '1 hour')
  AND NOT EXISTS (SELECT FROM linked_device AS linked
                  WHERE linked.stream = 'meter' AND linked.device_id = meter_id
                    AND since < %(end)s
                    AND coalesce(linked.removed_at > %(end)s::timestamptz - interval '1 hour', true))
  AND NOT EXISTS (SELECT FROM linked_device AS linked
                  WHERE linked.stream = 'vehicle' AND linked.device_id = vehicle_id
                    AND since < %(end)s
                    AND coalesce(linked.removed_at > %(end)s::timestamptz - interval '1 hour', true))
ORDER BY meter_id

-- name: link_totals
SELECT count(*) AS links, count(*) FILTER (WHERE valid @> now()) AS links_now,
       (SELECT count(*) FROM guessed_pair) AS pairs_by_number,
       max(lower(valid)) FILTER (WHERE NOT lower_inf(valid)) AS newest_link_at
FROM charging_link
