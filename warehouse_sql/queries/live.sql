-- name: live_meter
SELECT 'meter' AS kind, meter_id AS device_id, "timestamp", kwh_consumed_ac, voltage,
       reading_type, received_at
FROM meter_live_state WHERE meter_id = %(device)s

-- name: live_vehicle
SELECT 'vehicle' AS kind, vehicle_id AS device_id, "timestamp", soc, kwh_delivered_dc,
       battery_temp, meter_id, reading_type, received_at
FROM vehicle_live_state WHERE vehicle_id = %(device)s

-- name: live_fleet
-- One page of devices in the order of kind and id, after the given one. C collation is the order
-- of the ids' bytes, whatever the database was created with.
SELECT *
FROM (SELECT 'meter' AS kind, meter_id AS device_id, "timestamp", received_at, reading_type,
             kwh_consumed_ac, voltage, NULL::float8 AS soc, NULL::float8 AS kwh_delivered_dc,
             NULL::float8 AS battery_temp, NULL::text AS meter_id
      FROM meter_live_state
      UNION ALL
      SELECT 'vehicle', vehicle_id, "timestamp", received_at, reading_type,
             NULL, NULL, soc, kwh_delivered_dc, battery_temp, meter_id
      FROM vehicle_live_state) AS device
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(flag)s::text IS NULL
       OR %(flag)s = CASE
              WHEN "timestamp" >= %(now)s - make_interval(secs => %(online_seconds)s) THEN 'online'
              WHEN "timestamp" >= %(now)s - make_interval(secs => %(silent_seconds)s) THEN 'late'
              ELSE 'silent' END)
  AND (kind COLLATE "C", device_id COLLATE "C") > (%(after_kind)s, %(after_id)s)
ORDER BY kind COLLATE "C", device_id COLLATE "C"
LIMIT %(limit)s

-- name: newest_times
-- Event time of the newest heartbeat of each of these devices.
SELECT 'vehicle' AS kind, vehicle_id AS device_id, "timestamp" FROM vehicle_live_state
WHERE vehicle_id = ANY(%(vehicle_ids)s)
UNION ALL
SELECT 'meter', meter_id, "timestamp" FROM meter_live_state WHERE meter_id = ANY(%(meter_ids)s)

-- name: applied_migrations
SELECT name FROM schema_migration
