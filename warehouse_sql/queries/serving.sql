-- name: begin_snapshot
-- All statements up to end_snapshot see the same moment.
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: end_snapshot
COMMIT

-- name: same_trailing_number
-- Devices whose ids end in one of these numbers (without leading zeros) and that the pairing rule
-- knows in a window: heard in it or in the seven days before its first, and before a time (null:
-- ever); and whether anything but the rule has linked them before the end of the window. Heartbeats
-- in the outbox or in an hour that waits for its compaction have not reached the registry. A live
-- state within these days tells of them; of a device that the registry does not know at all also
-- that any such heartbeats lie before the time.
WITH asked AS (
    SELECT $4::timestamptz AS starts,
           date_trunc('day', $4::timestamptz, 'UTC') - interval '168 hours' AS heard_since,
           coalesce($2::timestamptz, 'infinity') AS heard_before
), registered AS (
    SELECT stream AS kind, device_id COLLATE "default" AS device_id,
           first_heard_at < heard_before
           AND expected && tstzrange(starts, greatest(starts, heard_before)) AS is_known
    FROM device, asked
    WHERE first_heard_at IS NOT NULL
      AND ltrim(substring(device_id FROM '[0-9]+$'), '0') = ANY($1)
), live AS (
    SELECT 'meter' AS kind, meter_id AS device_id, "timestamp" FROM meter_live_state
    WHERE ltrim(substring(meter_id FROM '[0-9]+$'), '0') = ANY($1)
    UNION ALL
    SELECT 'vehicle', vehicle_id, "timestamp" FROM vehicle_live_state
    WHERE ltrim(substring(vehicle_id FROM '[0-9]+$'), '0') = ANY($1)
), heard AS (
    SELECT kind, device_id FROM registered WHERE is_known
    UNION
    SELECT live.kind, live.device_id
    FROM live CROSS JOIN asked LEFT JOIN registered USING (kind, device_id)
    WHERE "timestamp" >= heard_since
      AND ("timestamp" < heard_before
           OR registered.kind IS NULL
              AND (EXISTS (SELECT FROM dirty_hour
                           WHERE stream = live.kind AND hour < heard_before)
                   OR EXISTS (SELECT FROM heartbeat_pack
                              WHERE stream = live.kind AND hours[1] < heard_before)
                   OR EXISTS (SELECT FROM meter_heartbeat_outbox
                              WHERE live.kind = 'meter' AND meter_id = live.device_id
                                AND "timestamp" < heard_before)
                   OR EXISTS (SELECT FROM vehicle_heartbeat_outbox
                              WHERE live.kind = 'vehicle' AND vehicle_id = live.device_id
                                AND "timestamp" < heard_before)))
)
SELECT kind, device_id,
       EXISTS (SELECT FROM charging_link AS l
               WHERE kind = 'meter' AND l.meter_id = device_id AND lower(valid) < $3)
       OR EXISTS (SELECT FROM charging_link AS l
                  WHERE kind = 'vehicle' AND l.vehicle_id = device_id AND lower(valid) < $3)
       OR EXISTS (SELECT FROM named_link AS l
                  WHERE kind = 'meter' AND l.meter_id = device_id AND first_named_at < $3
                    AND coalesce(l.removed_at > $3 - interval '1 hour', true))
       OR EXISTS (SELECT FROM named_link AS l
                  WHERE kind = 'vehicle' AND l.vehicle_id = device_id
                    AND first_named_at < $3
                    AND coalesce(l.removed_at > $3 - interval '1 hour', true)) AS linked
FROM heard

-- name: meters_of_vehicles
SELECT vehicle_id, meter_id FROM charging_link WHERE vehicle_id = ANY($1)
UNION SELECT vehicle_id, meter_id FROM named_link WHERE vehicle_id = ANY($1)

-- name: vehicles_of_meters
SELECT meter_id, vehicle_id FROM charging_link WHERE meter_id = ANY($1)
UNION SELECT meter_id, vehicle_id FROM named_link WHERE meter_id = ANY($1)

-- name: links_of_devices
SELECT meter_id, vehicle_id, lower(valid) AS valid_from, upper(valid) AS valid_to
FROM charging_link
WHERE valid && tstzrange($3, $4)
  AND (vehicle_id = ANY($1) OR meter_id = ANY($2))

-- name: list_links
SELECT id, meter_id, vehicle_id, lower(valid) AS valid_from, upper(valid) AS valid_to
FROM charging_link
WHERE (%(vehicle_id)s::text IS NULL OR vehicle_id = %(vehicle_id)s)
  AND (%(meter_id)s::text IS NULL OR meter_id = %(meter_id)s)
  AND (%(at)s::timestamptz IS NULL OR valid @> %(at)s::timestamptz)
  AND id > %(after)s
ORDER BY id
LIMIT %(limit)s

-- name: lock_link
SELECT id, meter_id, vehicle_id, lower(valid) AS valid_from, upper(valid) AS valid_to
FROM charging_link WHERE id = %(id)s FOR UPDATE

-- name: end_link
UPDATE charging_link SET valid = tstzrange(lower(valid), %(valid_to)s) WHERE id = %(id)s

-- name: remove_link
DELETE FROM charging_link WHERE id = %(id)s
RETURNING id, meter_id, vehicle_id, lower(valid) AS valid_from, upper(valid) AS valid_to

-- name: insert_link_if_free
-- Returns no row where the meter feeds a vehicle in a part of that time.
INSERT INTO charging_link (meter_id, vehicle_id, valid)
VALUES (%(meter_id)s, %(vehicle_id)s, tstzrange(%(valid_from)s, %(valid_to)s))
ON CONFLICT DO NOTHING
RETURNING id
