-- name: live_meter
SELECT 'meter' AS kind, meter_id AS device_id, "timestamp", kwh_consumed_ac, voltage,
       reading_type, received_at
FROM meter_live_state WHERE meter_id = ANY($1)

-- name: live_vehicle
SELECT 'vehicle' AS kind, vehicle_id AS device_id, "timestamp", soc, kwh_delivered_dc,
       battery_temp, meter_id, reading_type, received_at
FROM vehicle_live_state WHERE vehicle_id = ANY($1)

-- name: generic_session
-- Plans are generic: planning takes longer than to look up a few devices. Times come in the session's
-- zone.
SET plan_cache_mode = force_generic_plan;
SET timezone = 'UTC'

-- name: live_fleet
-- One page of devices after the given one, in the order of a value (those without it last), then of
-- kind and id. `sign` -1 turns the order of values around, `falling` that of kind and id. C
-- collation is the order of the ids' bytes, whatever the database was created with.
SELECT *
FROM (SELECT *, CASE %(sort)s WHEN 'age' THEN -extract(epoch FROM "timestamp")::float8
                              WHEN 'soc' THEN soc
                              WHEN 'temperature' THEN battery_temp
                              WHEN 'voltage' THEN voltage
                              ELSE 0 END * %(sign)s::float8 AS place
      FROM (SELECT 'meter' COLLATE "C" AS kind, meter_id AS device_id, "timestamp", received_at,
                   reading_type, kwh_consumed_ac, voltage, NULL::float8 AS soc,
                   NULL::float8 AS kwh_delivered_dc, NULL::float8 AS battery_temp,
                   NULL::text AS meter_id
            FROM meter_live_state
            UNION ALL
            SELECT 'vehicle', vehicle_id, "timestamp", received_at, reading_type,
                   NULL, NULL, soc, kwh_delivered_dc, battery_temp, meter_id
            FROM vehicle_live_state) AS device
      WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
        AND (%(ids)s::text[] IS NULL OR device_id = ANY(%(ids)s))
        AND (%(prefix)s::text IS NULL OR starts_with(device_id, %(prefix)s))
        AND (%(soc_below)s::float8 IS NULL OR soc < %(soc_below)s)
        AND (%(temperature_above)s::float8 IS NULL OR battery_temp > %(temperature_above)s)
        AND (%(flags)s::text[] IS NULL
             OR CASE
                    WHEN "timestamp" > %(believed_until)s THEN 'silent'
                    WHEN "timestamp" >= %(now)s - make_interval(secs => %(online_seconds)s)
                    THEN 'online'
                    WHEN "timestamp" >= %(now)s - make_interval(secs => %(silent_seconds)s)
                    THEN 'late'
                    ELSE 'silent' END = ANY(%(flags)s))
        AND (%(linked)s::boolean IS NULL
             OR %(linked)s = CASE kind
                    WHEN 'meter'
                    THEN device_id IN (SELECT meter_id COLLATE "C" FROM charging_link
                                       WHERE valid @> %(now)s::timestamptz
                                       UNION ALL
                                       SELECT meter_id COLLATE "C" FROM vehicle_live_state
                                       WHERE meter_id IS NOT NULL)
                    ELSE meter_id IS NOT NULL
                         OR device_id IN (SELECT vehicle_id COLLATE "C" FROM charging_link
                                          WHERE valid @> %(now)s::timestamptz) END)
     ) AS placed
WHERE %(after_id)s::text IS NULL
   OR (place IS NULL, coalesce(place, 0)) > (%(after_missing)s::boolean, %(after_place)s::float8)
   OR (place IS NULL, coalesce(place, 0)) = (%(after_missing)s::boolean, %(after_place)s::float8)
      AND CASE WHEN %(falling)s::boolean
               THEN (kind, device_id) < (%(after_kind)s, %(after_id)s)
               ELSE (kind, device_id) > (%(after_kind)s, %(after_id)s) END
ORDER BY place IS NULL, place,
         CASE WHEN NOT %(falling)s::boolean THEN kind END,
         CASE WHEN NOT %(falling)s::boolean THEN device_id END,
         CASE WHEN %(falling)s::boolean THEN kind END DESC,
         CASE WHEN %(falling)s::boolean THEN device_id END DESC
LIMIT %(limit)s

-- name: dashboard
-- Vehicles with their live state, the computed hours of a window, those of them that have one of the
-- `rated` statuses, and their open alerts. Energies are added up as whole microwatt-hours, which
-- floats hold exactly in any order.
SELECT 'vehicle' AS kind, live.vehicle_id AS device_id, live."timestamp", live.soc,
       live.kwh_delivered_dc, live.battery_temp, live.meter_id, live.reading_type,
       live.received_at, computed.*,
       coalesce((SELECT jsonb_agg(to_jsonb(alert) ORDER BY alert.id DESC) FROM alert
                 WHERE alert.device_kind = 'vehicle' AND alert.device_id = live.vehicle_id
                   AND alert.resolved_at IS NULL), '[]') AS alerts
FROM vehicle_live_state AS live
LEFT JOIN LATERAL
    (SELECT count(*) AS hours, max(hour_start) AS last_hour,
            sum(round(energy_ac_kwh * 1e9)) / 1e9 AS energy_ac_kwh,
            sum(round(energy_dc_kwh * 1e9)) / 1e9 AS energy_dc_kwh,
            count(*) FILTER (WHERE status = ANY(%(rated)s)) AS rated_hours,
            sum(round(energy_ac_kwh * 1e9)) FILTER (WHERE status = ANY(%(rated)s)) / 1e9
                AS rated_energy_ac_kwh,
            sum(round(energy_dc_kwh * 1e9)) FILTER (WHERE status = ANY(%(rated)s)) / 1e9
                AS rated_energy_dc_kwh,
            (array_agg(status ORDER BY hour_start DESC))[1] AS last_status
     FROM vehicle_efficiency_hourly
     WHERE vehicle_id = live.vehicle_id COLLATE "default"
       AND hour_start >= %(start)s AND hour_start < %(end)s) AS computed ON true
WHERE live.vehicle_id = ANY(%(vehicle_ids)s)
ORDER BY live.vehicle_id

-- name: newest_times
-- Event time of the newest heartbeat of each of these devices.
SELECT 'vehicle' AS kind, vehicle_id AS device_id, "timestamp" FROM vehicle_live_state
WHERE vehicle_id = ANY($1)
UNION ALL
SELECT 'meter', meter_id, "timestamp" FROM meter_live_state WHERE meter_id = ANY($2)

-- name: applied_migrations
SELECT name FROM schema_migration
