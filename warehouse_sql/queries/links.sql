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
-- Every device that was ever heard, and whether anything but the pairing rule has linked it before
-- the end of a window. What links it afterwards does not change the past.
SELECT 'meter' AS kind, meter_id AS device_id,
       EXISTS (SELECT FROM charging_link AS l
               WHERE l.meter_id = m.meter_id AND lower(valid) < %(end)s)
       OR EXISTS (SELECT FROM named_link AS l
                  WHERE l.meter_id = m.meter_id AND first_named_at < %(end)s) AS is_linked
FROM meter_live_state AS m
UNION ALL
SELECT 'vehicle', vehicle_id,
       EXISTS (SELECT FROM charging_link AS l
               WHERE l.vehicle_id = v.vehicle_id AND lower(valid) < %(end)s)
       OR EXISTS (SELECT FROM named_link AS l
                  WHERE l.vehicle_id = v.vehicle_id AND first_named_at < %(end)s)
FROM vehicle_live_state AS v
