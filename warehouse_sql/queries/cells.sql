-- name: keep_cells
-- The cells that a setting names, and no others.
WITH named AS (SELECT unnest(%(cells)s::text[]) AS name), gone AS (
    DELETE FROM cell WHERE name NOT IN (SELECT name FROM named)
)
INSERT INTO cell (name) SELECT name FROM named ON CONFLICT DO NOTHING

-- name: cell_progress
SELECT identity, horizon FROM cell WHERE name = %(cell)s

-- name: cell_horizon
-- Of a snapshot in the database of a cell: what later snapshots show as new has a transaction id that
-- is not below the horizon. Its collectors have watched from `since` to `seen_at`; they note that they
-- look every ten seconds or so.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon, watching_since AS since,
       CASE WHEN looked_at > now() - interval '20 seconds' THEN now() ELSE looked_at END AS seen_at
FROM alert_progress

-- name: changed_meters
-- Meters whose state was written by a transaction that is not below $1 (null: all), as the arrays that
-- merge_meter_live_state takes, $2 meters in each row. xmin has the last 32 bits of a transaction id,
-- and age() puts those of two billion transactions in order; of older ones it is negative.
SELECT array_agg(meter_id ORDER BY meter_id), array_agg("timestamp" ORDER BY meter_id),
       array_agg(kwh_consumed_ac ORDER BY meter_id), array_agg(voltage ORDER BY meter_id),
       array_agg(reading_type ORDER BY meter_id), array_agg(interval_seconds ORDER BY meter_id),
       array_agg(phase ORDER BY meter_id), array_agg(received_at ORDER BY meter_id)
FROM (SELECT *, (row_number() OVER (ORDER BY meter_id) - 1) / $2::bigint AS part
      FROM meter_live_state
      WHERE $1::bigint IS NULL OR age(xmin) BETWEEN 0 AND age(($1::bigint % 4294967296)::text::xid)) AS changed
GROUP BY part ORDER BY part

-- name: changed_vehicles
-- As changed_meters, for merge_vehicle_live_state.
SELECT array_agg(vehicle_id ORDER BY vehicle_id), array_agg("timestamp" ORDER BY vehicle_id),
       array_agg(kwh_delivered_dc ORDER BY vehicle_id), array_agg(soc ORDER BY vehicle_id),
       array_agg(battery_temp ORDER BY vehicle_id), array_agg(meter_id ORDER BY vehicle_id),
       array_agg(reading_type ORDER BY vehicle_id),
       array_agg(interval_seconds ORDER BY vehicle_id), array_agg(received_at ORDER BY vehicle_id)
FROM (SELECT *, (row_number() OVER (ORDER BY vehicle_id) - 1) / $2::bigint AS part
      FROM vehicle_live_state
      WHERE $1::bigint IS NULL OR age(xmin) BETWEEN 0 AND age(($1::bigint % 4294967296)::text::xid)) AS changed
GROUP BY part ORDER BY part

-- name: changed_pairs
-- Pairs that were named for the first or an earlier time, or by a newest heartbeat: a pair that was
-- removed at home comes back by that alone. As the arrays that insert_named_links takes.
SELECT array_agg(vehicle_id ORDER BY vehicle_id, meter_id),
       array_agg(meter_id ORDER BY vehicle_id, meter_id),
       array_agg(named_at ORDER BY vehicle_id, meter_id)
FROM (SELECT *, (row_number() OVER (ORDER BY vehicle_id, meter_id) - 1) / $2::bigint AS part
      FROM (SELECT vehicle_id, meter_id, min(named_at) AS named_at
            FROM (SELECT vehicle_id, meter_id, first_named_at AS named_at
                  FROM named_link
                  WHERE $1::bigint IS NULL OR age(xmin) BETWEEN 0 AND age(($1::bigint % 4294967296)::text::xid)
                  UNION ALL
                  SELECT vehicle_id, meter_id, "timestamp"
                  FROM vehicle_live_state
                  WHERE meter_id IS NOT NULL
                    AND ($1::bigint IS NULL
                         OR age(xmin) BETWEEN 0 AND age(($1::bigint % 4294967296)::text::xid))) AS named
            GROUP BY vehicle_id, meter_id) AS pair) AS numbered
GROUP BY part ORDER BY part

-- name: note_cell_devices
-- What these devices send comes by this cell from now on.
INSERT INTO cell_device AS known (stream, device_id, cell)
SELECT $1::text, heard.device_id, $2::text
FROM unnest($3::text[]) AS heard (device_id)
LEFT JOIN cell_device AS before
    ON before.stream = $1 AND before.device_id = heard.device_id COLLATE "C"
WHERE before.cell IS DISTINCT FROM $2
ORDER BY heard.device_id
ON CONFLICT (stream, device_id) DO UPDATE SET cell = excluded.cell

-- name: forget_removed_meters
-- Of these meters those that were removed after the heartbeat came.
DELETE FROM meter_live_state AS live
USING device
WHERE live.meter_id = ANY($1::text[]) AND device.stream = 'meter'
  AND device.device_id = live.meter_id COLLATE "C" AND device.removed_at >= live.received_at

-- name: forget_removed_vehicles
DELETE FROM vehicle_live_state AS live
USING device
WHERE live.vehicle_id = ANY($1::text[]) AND device.stream = 'vehicle'
  AND device.device_id = live.vehicle_id COLLATE "C" AND device.removed_at >= live.received_at

-- name: note_cell
UPDATE cell SET identity = %(identity)s, horizon = %(horizon)s, since = %(since)s,
                seen_at = %(seen_at)s
WHERE name = %(cell)s

-- name: cells
-- The cells, and how long ago each was seen; null: never.
SELECT name, seen_at, is_seen, extract(epoch FROM now() - seen_at)::float8 AS unseen_seconds
FROM cell_state ORDER BY name
