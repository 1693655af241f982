-- name: live_meter
SELECT 'meter' AS kind, meter_id AS device_id, "timestamp", kwh_consumed_ac, voltage,
       reading_type, interval_seconds, cadence_seconds, phase, received_at
FROM meter_live_state WHERE meter_id = ANY($1)

-- name: live_vehicle
SELECT 'vehicle' AS kind, vehicle_id AS device_id, "timestamp", soc, kwh_delivered_dc,
       battery_temp, meter_id, reading_type, interval_seconds, cadence_seconds, received_at
FROM vehicle_live_state WHERE vehicle_id = ANY($1)

-- name: heard_devices
-- Which of these were ever heard; null: all that were.
SELECT 'meter' AS stream, meter_id AS device_id FROM meter_live_state
WHERE %(meters)s::text[] IS NULL OR meter_id = ANY(%(meters)s)
UNION ALL
SELECT 'vehicle', vehicle_id FROM vehicle_live_state
WHERE %(vehicles)s::text[] IS NULL OR vehicle_id = ANY(%(vehicles)s)

-- name: session_of_generic_plans
-- Planning takes longer than to look up a few devices.
SET plan_cache_mode = force_generic_plan

-- name: live_fleet
-- One page of devices after the given one, in the order of a value (those without it last), then of
-- kind and id. `sign` -1 turns the order of values around, `falling` that of kind and id. C
-- collation is the order of the ids' bytes, whatever the database was created with.
-- Planned with the parameters, a page by id `is_walked` along the primary keys from the last id of the
-- page before, however many devices there are. Where a filter may let only few through, a walk would
-- take longest of all, and the planner does not know: the order is then one that no index has.
WITH linked_meter AS (
    SELECT meter_id COLLATE "C" FROM charging_link WHERE valid @> %(now)s::timestamptz
    UNION ALL
    SELECT meter_id COLLATE "C" FROM vehicle_live_state WHERE meter_id IS NOT NULL
), linked_vehicle AS (
    SELECT vehicle_id COLLATE "C" FROM charging_link WHERE valid @> %(now)s::timestamptz
    UNION ALL
    SELECT vehicle_id FROM vehicle_live_state WHERE meter_id IS NOT NULL
), placed AS (
    SELECT stream, device_id FROM device
    WHERE (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
      AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s))
), meter AS (
    SELECT 'meter' COLLATE "C" AS kind, meter_id AS device_id, "timestamp", received_at,
           reading_type, kwh_consumed_ac, voltage, NULL::float8 AS soc,
           NULL::float8 AS kwh_delivered_dc, NULL::float8 AS battery_temp, NULL::text AS meter_id,
           interval_seconds, cadence_seconds, phase, place
    FROM meter_live_state CROSS JOIN LATERAL
         (SELECT CASE %(sort)s WHEN 'id' THEN 0
                               WHEN 'age' THEN -date_part('epoch', "timestamp")
                               WHEN 'voltage' THEN voltage END * %(sign)s::float8 AS place) AS placed
    WHERE %(kind)s::text IS DISTINCT FROM 'vehicle'
      AND %(soc_below)s::float8 IS NULL AND %(temperature_above)s::float8 IS NULL
      AND (%(ids)s::text[] IS NULL OR meter_id = ANY(%(ids)s))
      AND (NOT %(is_placed)s::boolean
           OR meter_id COLLATE "C" IN (SELECT device_id FROM placed WHERE stream = 'meter'))
      AND (%(prefix)s::text IS NULL OR starts_with(meter_id, %(prefix)s))
      AND (%(flags)s::text[] IS NULL
           OR connection_flag(
               "timestamp", device_cadence(interval_seconds, cadence_seconds, %(nominal)s), %(now)s,
               %(believed_until)s, %(nominal)s, %(online_intervals)s, %(silent_after)s,
               %(silent_intervals)s) = ANY(%(flags)s))
      AND (%(linked)s::boolean IS NOT TRUE OR meter_id IN (TABLE linked_meter))
      AND (%(linked)s::boolean IS NOT FALSE OR meter_id NOT IN (TABLE linked_meter))
      AND CASE WHEN %(after_id)s::text IS NULL THEN true
               WHEN %(sort)s = 'id' THEN
                   CASE WHEN %(after_kind)s = 'vehicle' THEN %(falling)s::boolean
                        WHEN %(falling)s::boolean THEN meter_id < %(after_id)s
                        ELSE meter_id > %(after_id)s END
               ELSE (place IS NULL, coalesce(place, 0), 'meter' COLLATE "C", meter_id)
                    > (%(after_missing)s::boolean, %(after_place)s::float8, %(after_kind)s,
                       %(after_id)s) END
    ORDER BY place IS NULL, place,
             CASE WHEN NOT %(falling)s::boolean THEN
                 CASE WHEN %(is_walked)s::boolean THEN meter_id ELSE meter_id || '' END END,
             CASE WHEN %(falling)s::boolean THEN
                 CASE WHEN %(is_walked)s::boolean THEN meter_id ELSE meter_id || '' END END DESC
    LIMIT %(limit)s
), vehicle AS (
    SELECT 'vehicle' COLLATE "C" AS kind, vehicle_id AS device_id, "timestamp", received_at,
           reading_type, NULL::float8, NULL::float8, soc, kwh_delivered_dc, battery_temp, meter_id,
           interval_seconds, cadence_seconds, NULL::text, place
    FROM vehicle_live_state CROSS JOIN LATERAL
         (SELECT CASE %(sort)s WHEN 'id' THEN 0
                               WHEN 'age' THEN -date_part('epoch', "timestamp")
                               WHEN 'soc' THEN soc
                               WHEN 'temperature' THEN battery_temp END * %(sign)s::float8
              AS place) AS placed
    WHERE %(kind)s::text IS DISTINCT FROM 'meter'
      AND (%(soc_below)s::float8 IS NULL OR soc < %(soc_below)s)
      AND (%(temperature_above)s::float8 IS NULL OR battery_temp > %(temperature_above)s)
      AND (%(ids)s::text[] IS NULL OR vehicle_id = ANY(%(ids)s))
      AND (NOT %(is_placed)s::boolean
           OR vehicle_id COLLATE "C" IN (SELECT device_id FROM placed WHERE stream = 'vehicle'))
      AND (%(prefix)s::text IS NULL OR starts_with(vehicle_id, %(prefix)s))
      AND (%(flags)s::text[] IS NULL
           OR connection_flag(
               "timestamp", device_cadence(interval_seconds, cadence_seconds, %(nominal)s), %(now)s,
               %(believed_until)s, %(nominal)s, %(online_intervals)s, %(silent_after)s,
               %(silent_intervals)s) = ANY(%(flags)s))
      AND (%(linked)s::boolean IS NOT TRUE OR vehicle_id IN (TABLE linked_vehicle))
      AND (%(linked)s::boolean IS NOT FALSE OR vehicle_id NOT IN (TABLE linked_vehicle))
      AND CASE WHEN %(after_id)s::text IS NULL THEN true
               WHEN %(sort)s = 'id' THEN
                   CASE WHEN %(after_kind)s = 'meter' THEN NOT %(falling)s::boolean
                        WHEN %(falling)s::boolean THEN vehicle_id < %(after_id)s
                        ELSE vehicle_id > %(after_id)s END
               ELSE (place IS NULL, coalesce(place, 0), 'vehicle' COLLATE "C", vehicle_id)
                    > (%(after_missing)s::boolean, %(after_place)s::float8, %(after_kind)s,
                       %(after_id)s) END
    ORDER BY place IS NULL, place,
             CASE WHEN NOT %(falling)s::boolean THEN
                 CASE WHEN %(is_walked)s::boolean THEN vehicle_id ELSE vehicle_id || '' END END,
             CASE WHEN %(falling)s::boolean THEN
                 CASE WHEN %(is_walked)s::boolean THEN vehicle_id ELSE vehicle_id || '' END END DESC
    LIMIT %(limit)s
)
SELECT * FROM (TABLE meter UNION ALL TABLE vehicle) AS device
ORDER BY place IS NULL, place,
         CASE WHEN NOT %(falling)s::boolean THEN kind END,
         CASE WHEN NOT %(falling)s::boolean THEN device_id END,
         CASE WHEN %(falling)s::boolean THEN kind END DESC,
         CASE WHEN %(falling)s::boolean THEN device_id END DESC
LIMIT %(limit)s

-- name: dashboard
-- Vehicles with their live state, the computed hours of a window, those of them that have one of the
-- `rated` statuses, with their matched energies, and their open alerts. Energies are added up as whole microwatt-hours, which
-- floats hold exactly in any order.
SELECT 'vehicle' AS kind, live.vehicle_id AS device_id, live."timestamp", live.soc,
       live.kwh_delivered_dc, live.battery_temp, live.meter_id, live.reading_type,
       live.interval_seconds, live.cadence_seconds, live.received_at, computed.*,
       coalesce((SELECT jsonb_agg(to_jsonb(alert) ORDER BY alert.id DESC) FROM alert
                 WHERE alert.device_kind = 'vehicle' AND alert.device_id = live.vehicle_id
                   AND alert.resolved_at IS NULL), '[]') AS alerts
FROM vehicle_live_state AS live
LEFT JOIN LATERAL
    (SELECT count(*) AS hours, max(hour_start) AS last_hour,
            sum(round(energy_ac_kwh * 1e9)) / 1e9 AS energy_ac_kwh,
            sum(round(energy_dc_kwh * 1e9)) / 1e9 AS energy_dc_kwh,
            count(*) FILTER (WHERE status = ANY(%(rated)s)) AS rated_hours,
            sum(round(matched_energy_ac_kwh * 1e9)) FILTER (WHERE status = ANY(%(rated)s)) / 1e9
                AS rated_energy_ac_kwh,
            sum(round(matched_energy_dc_kwh * 1e9)) FILTER (WHERE status = ANY(%(rated)s)) / 1e9
                AS rated_energy_dc_kwh,
            (array_agg(status ORDER BY hour_start DESC))[1] AS last_status
     FROM vehicle_efficiency_hourly
     WHERE vehicle_id = live.vehicle_id COLLATE "default"
       AND hour_start >= %(start)s AND hour_start < %(end)s) AS computed ON true
WHERE live.vehicle_id = ANY(%(vehicle_ids)s)
ORDER BY live.vehicle_id

-- name: heard_times
-- Event times of the newest heartbeat of each of these devices, and of the oldest in the history
-- (null: it holds none yet).
-- By subqueries: a join looks through all devices for one.
SELECT 'vehicle' AS kind, vehicle_id AS device_id, "timestamp" AS newest,
       (SELECT first_heard_at FROM device
        WHERE stream = 'vehicle' AND device_id = vehicle_id COLLATE "C") AS oldest
FROM vehicle_live_state
WHERE vehicle_id = ANY($1)
UNION ALL
SELECT 'meter', meter_id, "timestamp",
       (SELECT first_heard_at FROM device
        WHERE stream = 'meter' AND device_id = meter_id COLLATE "C")
FROM meter_live_state
WHERE meter_id = ANY($2)

-- name: applied_migrations
SELECT name FROM schema_migration
