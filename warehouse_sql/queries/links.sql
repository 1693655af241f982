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

-- name: known_devices
-- Every device that was heard in the hour that ends at `end` or shortly before it, and whether anything
-- but the pairing rule has linked it before then. What is heard or linked afterwards does not change
-- the past.
SELECT 'meter' AS kind, device_id,
       EXISTS (SELECT FROM charging_link AS l
               WHERE l.meter_id = device_id COLLATE "default" AND lower(valid) < %(end)s)
       OR EXISTS (SELECT FROM named_link AS l
                  WHERE l.meter_id = device_id COLLATE "default"
                    AND first_named_at < %(end)s
                    AND coalesce(l.removed_at > %(end)s::timestamptz - interval '1 hour', true))
           AS is_linked
FROM device WHERE stream = 'meter' AND expected @> (%(end)s::timestamptz - interval '1 hour')
UNION ALL
SELECT 'vehicle', device_id,
       EXISTS (SELECT FROM charging_link AS l
               WHERE l.vehicle_id = device_id COLLATE "default" AND lower(valid) < %(end)s)
       OR EXISTS (SELECT FROM named_link AS l
                  WHERE l.vehicle_id = device_id COLLATE "default" AND first_named_at < %(end)s
                    AND coalesce(l.removed_at > %(end)s::timestamptz - interval '1 hour', true))
FROM device WHERE stream = 'vehicle' AND expected @> (%(end)s::timestamptz - interval '1 hour')
