-- name: overview_live
-- For each kind that has devices, all or those of some depots and groups: how many by their connection,
-- the power that the newest interval readings of those online say (null without one), and which of them
-- was received last. An energy is the power of its time: of the declared interval, else of the device's
-- cadence, however old it is. What can't be believed came while a clock was ahead: such a device is
-- silent, and received last only where all are so. Powers are added up as whole microwatts, which floats
-- hold exactly in any order. OFFSET keeps the connection from being worked out for each count.
WITH meter AS NOT MATERIALIZED (
    SELECT * FROM meter_live_state
    WHERE NOT %(is_placed)s::boolean
       OR EXISTS (SELECT FROM device
                  WHERE stream = 'meter' AND device_id = meter_id COLLATE "C"
                    AND (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
                    AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s)))
), vehicle AS NOT MATERIALIZED (
    SELECT * FROM vehicle_live_state
    WHERE NOT %(is_placed)s::boolean
       OR EXISTS (SELECT FROM device
                  WHERE stream = 'vehicle' AND device_id = vehicle_id COLLATE "C"
                    AND (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
                    AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s)))
)
SELECT *
FROM (SELECT 'meter' AS kind, count(*) FILTER (WHERE connection = 'online') AS online,
             count(*) FILTER (WHERE connection = 'late') AS late,
             count(*) FILTER (WHERE connection = 'silent') AS silent,
             count(kwh) FILTER (WHERE connection = 'online') AS readings,
             count(*) FILTER (WHERE connection = 'online' AND kwh > 0) AS flowing,
             sum(round(kwh * 1e9 * 3600 / seconds)) FILTER (WHERE connection = 'online') / 1e9
                 AS power_kw
      FROM (SELECT coalesce(interval_seconds, cadence_seconds, %(nominal)s) AS seconds,
                   CASE reading_type WHEN 'interval' THEN kwh_consumed_ac END AS kwh,
                   connection_flag(
                       "timestamp", device_cadence(interval_seconds, cadence_seconds, %(nominal)s),
                       %(now)s, %(believed_until)s, %(nominal)s, %(online_intervals)s,
                       %(silent_after)s, %(silent_intervals)s) AS connection
            FROM meter OFFSET 0) AS live) AS counted,
     (SELECT meter_id AS device_id, "timestamp", received_at FROM meter
      ORDER BY received_at > %(believed_until)s, received_at DESC LIMIT 1) AS newest
UNION ALL
SELECT *
FROM (SELECT 'vehicle' AS kind, count(*) FILTER (WHERE connection = 'online') AS online,
             count(*) FILTER (WHERE connection = 'late') AS late,
             count(*) FILTER (WHERE connection = 'silent') AS silent,
             count(kwh) FILTER (WHERE connection = 'online') AS readings,
             count(*) FILTER (WHERE connection = 'online' AND kwh > 0) AS flowing,
             sum(round(kwh * 1e9 * 3600 / seconds)) FILTER (WHERE connection = 'online') / 1e9
                 AS power_kw
      FROM (SELECT coalesce(interval_seconds, cadence_seconds, %(nominal)s) AS seconds,
                   CASE reading_type WHEN 'interval' THEN kwh_delivered_dc END AS kwh,
                   connection_flag(
                       "timestamp", device_cadence(interval_seconds, cadence_seconds, %(nominal)s),
                       %(now)s, %(believed_until)s, %(nominal)s, %(online_intervals)s,
                       %(silent_after)s, %(silent_intervals)s) AS connection
            FROM vehicle OFFSET 0) AS live) AS counted,
     (SELECT vehicle_id AS device_id, "timestamp", received_at FROM vehicle
      ORDER BY received_at > %(believed_until)s, received_at DESC LIMIT 1) AS newest

-- name: overview_hours
-- The fleet over the computed hours that start in a window.
SELECT count(*) AS hours, min(hour_start) AS first_hour, max(hour_start) AS last_hour,
       sum(round(energy_ac_kwh * 1e9)) / 1e9 AS energy_ac_kwh,
       sum(round(energy_dc_kwh * 1e9)) / 1e9 AS energy_dc_kwh,
       sum(round(rated_energy_ac_kwh * 1e9)) / 1e9 AS rated_energy_ac_kwh,
       sum(round(rated_energy_dc_kwh * 1e9)) / 1e9 AS rated_energy_dc_kwh,
       sum(round(unlinked_energy_ac_kwh * 1e9)) / 1e9 AS unlinked_energy_ac_kwh
FROM fleet_efficiency_hourly
WHERE hour_start >= %(start)s AND hour_start < %(end)s

-- name: overview_newest_hour
-- The vehicles of the newest computed hour by status.
SELECT hour_start, vehicles_excellent, vehicles_good, vehicles_warning, vehicles_critical,
       vehicles_idle, vehicles_insufficient_data, vehicles_unmapped, vehicles_implausible
FROM fleet_efficiency_hourly WHERE hour_start <= %(now)s ORDER BY hour_start DESC LIMIT 1

-- name: devices_by_id
-- Devices whose ids hold a text in any case: those that are it, then those that begin so, then others.
SELECT kind, device_id, "timestamp", interval_seconds, cadence_seconds
FROM (SELECT 'meter' AS kind, meter_id AS device_id, "timestamp", interval_seconds, cadence_seconds
      FROM meter_live_state
      UNION ALL
      SELECT 'vehicle', vehicle_id, "timestamp", interval_seconds, cadence_seconds
      FROM vehicle_live_state) AS device
WHERE strpos(lower(device_id), lower(%(text)s)) > 0
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (NOT %(is_placed)s::boolean
       OR EXISTS (SELECT FROM device AS known
                  WHERE stream = kind AND known.device_id = device.device_id COLLATE "C"
                    AND (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
                    AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s))))
ORDER BY device_id <> %(text)s, strpos(lower(device_id), lower(%(text)s)) > 1,
         device_id COLLATE "C", kind
LIMIT %(limit)s
