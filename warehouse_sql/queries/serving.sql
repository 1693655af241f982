-- name: begin_snapshot
-- All statements up to end_snapshot see the same moment.
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: end_snapshot
COMMIT

-- name: pairs_of_vehicles
-- Pairs of vehicles by the rule that count in a window: both were heard in it or in the seven days
-- before its first, and before a time (null: ever), and nothing else has linked either before the end
-- of the window. Heartbeats in the outbox or in an hour that waits for its compaction have not reached
-- the registry. A live state within these days tells of them; of a device that the registry does not
-- know at all also that any such heartbeats lie before the time.
WITH asked AS (
    SELECT $4::timestamptz AS starts,
           date_trunc('day', $4::timestamptz, 'UTC') - interval '168 hours' AS heard_since,
           coalesce($2::timestamptz, 'infinity') AS heard_before
), pair AS (
    -- One vehicle after the other: the index finds none of several at once.
    SELECT meter_id, vehicle_id FROM unnest($1::text[]) AS one (id)
    CROSS JOIN LATERAL (
        SELECT meter_id, vehicle_id FROM number_pair
        WHERE vehicle_id = one.id AND dissolved_at IS NULL
          AND valid @> ($3::timestamptz - interval '1 microsecond')
        OFFSET 0
    ) AS found
), member AS (
    SELECT 'meter' AS kind, meter_id AS device_id, meter_id,
           (SELECT "timestamp" FROM meter_live_state AS live WHERE live.meter_id = pair.meter_id)
    FROM pair
    UNION ALL
    SELECT 'vehicle', vehicle_id, meter_id,
           (SELECT "timestamp" FROM vehicle_live_state AS live
            WHERE live.vehicle_id = pair.vehicle_id)
    FROM pair
), heard AS (
    SELECT member.kind,
           coalesce(registered.first_heard_at < heard_before
                    AND expected && tstzrange(starts, greatest(starts, heard_before)), false)
           OR coalesce(member."timestamp" >= heard_since
              AND (member."timestamp" < heard_before
                   OR registered.first_heard_at IS NULL
                      AND (EXISTS (SELECT FROM dirty_hour
                                   WHERE stream = member.kind AND hour < heard_before)
                           OR EXISTS (SELECT FROM heartbeat_pack
                                      WHERE stream = member.kind AND hours[1] < heard_before)
                           OR EXISTS (SELECT FROM meter_heartbeat_outbox AS waits
                                      WHERE member.kind = 'meter'
                                        AND waits.meter_id = member.device_id
                                        AND waits."timestamp" < heard_before)
                           OR EXISTS (SELECT FROM vehicle_heartbeat_outbox AS waits
                                      WHERE member.kind = 'vehicle'
                                        AND waits.vehicle_id = member.device_id
                                        AND waits."timestamp" < heard_before))), false) AS is_heard,
           EXISTS (SELECT FROM linked_device AS linked
                   WHERE linked.stream = member.kind AND linked.device_id = member.device_id
                     AND since < $3
                     AND coalesce(linked.removed_at > $3 - interval '1 hour', true)) AS is_linked,
           member.meter_id
    FROM asked CROSS JOIN member
    LEFT JOIN device AS registered
        ON registered.stream = member.kind AND registered.device_id = member.device_id COLLATE "C"
)
SELECT pair.meter_id, pair.vehicle_id
FROM pair
WHERE (SELECT bool_and(is_heard AND NOT is_linked) FROM heard WHERE heard.meter_id = pair.meter_id)

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

-- name: guessed_links
-- Pairs by the rule that count now, those that nothing else has linked since; the page after a meter.
SELECT meter_id, vehicle_id, made_at FROM guessed_pair
WHERE meter_id > %(after)s
ORDER BY meter_id
LIMIT %(limit)s

-- name: unpaired_devices
SELECT stream AS kind, device_id AS id, noted_at FROM unlinked_device
ORDER BY noted_at DESC, stream, device_id
LIMIT %(limit)s

-- name: count_guessed_links
SELECT (SELECT count(*) FROM guessed_pair) AS links,
       (SELECT count(*) FROM unlinked_device) AS unpaired

-- name: dissolve_pair
-- That a meter has now. Its hours are opened before: whoever locks both locks the ledger first.
UPDATE number_pair SET dissolved_at = now()
WHERE meter_id = %(meter_id)s AND dissolved_at IS NULL AND upper_inf(valid)
RETURNING meter_id, vehicle_id, made_at

-- name: reopen_hours_of_pair
-- Hours in which the two may have been paired; rows are locked as in `reopen_hours`.
UPDATE partition_ledger SET revision = revision + 1
WHERE (stream, hour) IN (
    SELECT ledger.stream, ledger.hour FROM partition_ledger AS ledger
    WHERE ledger.hour <@ (
        SELECT range_agg(meter.expected * vehicle.expected)
        FROM number_pair AS pair
        JOIN device AS meter
            ON meter.stream = 'meter' AND meter.device_id = pair.meter_id COLLATE "C"
        JOIN device AS vehicle
            ON vehicle.stream = 'vehicle' AND vehicle.device_id = pair.vehicle_id COLLATE "C"
        WHERE pair.meter_id = %(meter_id)s AND dissolved_at IS NULL AND upper_inf(pair.valid))
    ORDER BY ledger.stream, ledger.hour FOR UPDATE)

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
