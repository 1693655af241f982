-- name: overview_live
-- For each kind that has devices: how many by their connection, what the newest readings of those
-- online say (null without one), and which of them was received last. What can't be believed came
-- while a clock was ahead: such a device is silent, and received last only where all are so. Energies
-- are added up as whole microwatt-hours, which floats hold exactly in any order.
SELECT *
FROM (SELECT 'meter' AS kind, count(*) FILTER (WHERE "timestamp" >= %(online_since)s
                              AND "timestamp" <= %(believed_until)s) AS online,
             count(*) FILTER (WHERE "timestamp" < %(online_since)s
                              AND "timestamp" >= %(late_since)s) AS late,
             count(*) FILTER (WHERE "timestamp" < least(%(online_since)s, %(late_since)s)
                              OR "timestamp" > %(believed_until)s) AS silent,
             count(kwh_consumed_ac) FILTER (WHERE "timestamp" >= %(online_since)s
                 AND "timestamp" <= %(believed_until)s AND reading_type = 'interval') AS readings,
             count(*) FILTER (WHERE kwh_consumed_ac > 0 AND "timestamp" >= %(online_since)s
                 AND "timestamp" <= %(believed_until)s AND reading_type = 'interval') AS flowing,
             sum(round(kwh_consumed_ac * 1e9)) FILTER (WHERE "timestamp" >= %(online_since)s
                 AND "timestamp" <= %(believed_until)s AND reading_type = 'interval') / 1e9 AS energy_kwh
      FROM meter_live_state) AS counted,
     (SELECT meter_id AS device_id, "timestamp", received_at FROM meter_live_state
      ORDER BY received_at > %(believed_until)s, received_at DESC LIMIT 1) AS newest
UNION ALL
SELECT *
FROM (SELECT 'vehicle' AS kind, count(*) FILTER (WHERE "timestamp" >= %(online_since)s
                              AND "timestamp" <= %(believed_until)s) AS online,
             count(*) FILTER (WHERE "timestamp" < %(online_since)s
                              AND "timestamp" >= %(late_since)s) AS late,
             count(*) FILTER (WHERE "timestamp" < least(%(online_since)s, %(late_since)s)
                              OR "timestamp" > %(believed_until)s) AS silent,
             count(kwh_delivered_dc) FILTER (WHERE "timestamp" >= %(online_since)s
                 AND "timestamp" <= %(believed_until)s AND reading_type = 'interval') AS readings,
             count(*) FILTER (WHERE kwh_delivered_dc > 0 AND "timestamp" >= %(online_since)s
                 AND "timestamp" <= %(believed_until)s AND reading_type = 'interval') AS flowing,
             sum(round(kwh_delivered_dc * 1e9)) FILTER (WHERE "timestamp" >= %(online_since)s
                 AND "timestamp" <= %(believed_until)s AND reading_type = 'interval') / 1e9 AS energy_kwh
      FROM vehicle_live_state) AS counted,
     (SELECT vehicle_id AS device_id, "timestamp", received_at FROM vehicle_live_state
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
SELECT kind, device_id, "timestamp"
FROM (SELECT 'meter' AS kind, meter_id AS device_id, "timestamp" FROM meter_live_state
      UNION ALL
      SELECT 'vehicle', vehicle_id, "timestamp" FROM vehicle_live_state) AS device
WHERE strpos(lower(device_id), lower(%(text)s)) > 0
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
ORDER BY device_id <> %(text)s, strpos(lower(device_id), lower(%(text)s)) > 1,
         device_id COLLATE "C", kind
LIMIT %(limit)s
