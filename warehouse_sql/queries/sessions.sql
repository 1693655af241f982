-- name: newest_computed_hour
SELECT max(hour) FROM partition_ledger WHERE computed_version IS NOT NULL AND hour <= %(now)s

-- name: limited_links_between
-- Explicit links that have an end, and last no longer than a time of being plugged in may.
SELECT vehicle_id, lower(valid) AS valid_from, upper(valid) AS valid_to
FROM charging_link
WHERE valid && tstzrange(%(start)s, %(end)s) AND NOT upper_inf(valid)
  AND upper(valid) - lower(valid) <= %(longest)s
ORDER BY vehicle_id, valid_from, valid_to

-- name: delete_charging_sessions
-- What these vehicles have in these times, also what a run that died has left there.
DELETE FROM charging_session AS session
USING unnest(%(vehicles)s::text[], %(since)s::timestamptz[], %(until)s::timestamptz[])
      AS span (vehicle_id, since, until)
WHERE session.vehicle_id = span.vehicle_id
  AND session.begins < span.until AND session.last_energy_at > span.since

-- name: prune_charging_sessions
DELETE FROM charging_session
WHERE ctid = ANY (ARRAY(SELECT ctid FROM charging_session WHERE begins < %(before)s
                        ORDER BY begins LIMIT %(most)s))

-- name: copy_charging_sessions
COPY charging_session
    (session_id, vehicle_id, meter_ids, begins, ends, last_energy_at, plugged_from, plugged_to,
     duration_seconds, charging_seconds, plugged_seconds, energy_ac_kwh, energy_dc_kwh,
     matched_energy_ac_kwh, matched_energy_dc_kwh, loss_kwh, efficiency_percent, status, reason,
     soc_from, soc_to, mean_power_ac_kw, mean_power_dc_kw, peak_power_ac_kw, peak_power_dc_kw,
     battery_temp_min, average_battery_temp, battery_temp_max, energy_ac_by_hour_kwh, evidence,
     link_source, charger_class, data_points_meter, data_points_vehicle, coverage_ac, coverage_dc,
     longest_gap_seconds, supersedes)
FROM STDIN

-- name: charging_sessions_between
SELECT session_id, vehicle_id, meter_ids, begins, ends, last_energy_at, plugged_from, plugged_to,
       duration_seconds, charging_seconds, plugged_seconds, energy_ac_kwh, energy_dc_kwh,
       matched_energy_ac_kwh, matched_energy_dc_kwh, loss_kwh, efficiency_percent, status, reason,
       soc_from, soc_to, mean_power_ac_kw, mean_power_dc_kw, peak_power_ac_kw, peak_power_dc_kw,
       battery_temp_min, average_battery_temp, battery_temp_max, energy_ac_by_hour_kwh, evidence,
       link_source, charger_class, data_points_meter, data_points_vehicle, coverage_ac, coverage_dc,
       longest_gap_seconds, supersedes
FROM charging_session WHERE begins >= $1 AND begins < $2 ORDER BY vehicle_id, begins

-- name: list_sessions
-- The newest first. A session is at most so long that `since` lies before its begin if it has a part in
-- the window.
SELECT *
FROM charging_session
WHERE begins >= %(since)s AND begins < %(end)s AND last_energy_at > %(start)s
  AND (%(vehicle_id)s::text IS NULL OR vehicle_id = %(vehicle_id)s)
  AND (%(meter_id)s::text IS NULL OR meter_ids @> ARRAY[%(meter_id)s::text])
  AND (%(statuses)s::text[] IS NULL OR status = ANY(%(statuses)s))
  AND (%(ongoing)s::boolean IS NULL OR (ends IS NULL) = %(ongoing)s)
  AND (%(after_begin)s::timestamptz IS NULL OR (begins, session_id) < (%(after_begin)s, %(after_id)s))
ORDER BY begins DESC, session_id DESC
LIMIT %(limit)s

-- name: session_of_id
-- The session that has this id, or has taken in the one that had it.
SELECT *
FROM charging_session
WHERE session_id = %(session_id)s OR supersedes @> ARRAY[%(session_id)s::text]
ORDER BY session_id = %(session_id)s DESC
LIMIT 1
