-- name: forget_awaited_of_hours
DELETE FROM awaited_reading WHERE hour_start = ANY(%(hours)s)

-- name: copy_awaited_readings
COPY awaited_reading (hour_start, stream, device_id, heard_until) FROM STDIN

-- name: awaited_of_hour
SELECT stream, device_id FROM awaited_reading WHERE hour_start = %(hour)s

-- name: forget_awaited_before
-- Nobody waits any more for what is as late as this: the device was parked or removed.
DELETE FROM awaited_reading WHERE hour_start < %(before)s AND noted_at < %(before)s

-- name: hours_to_refine
-- Hours of which an awaited device has sent an energy since, and that were not computed just now. The
-- pause doubles with the age of the hour, so that the silent devices of a large fleet, of which one or
-- another always comes back, let an hour be computed again a few times and not all the time.
SELECT hour_start
FROM awaited_reading AS awaited
     LEFT JOIN meter_live_state AS meter
         ON awaited.stream = 'meter' AND meter.meter_id = awaited.device_id COLLATE "default"
     LEFT JOIN vehicle_live_state AS vehicle
         ON awaited.stream = 'vehicle' AND vehicle.vehicle_id = awaited.device_id COLLATE "default"
WHERE hour_start >= %(since)s
  AND %(now)s >= noted_at + greatest(make_interval(secs => %(pause)s),
                                     noted_at - hour_start - interval '1 hour')
  AND (meter.kwh_consumed_ac IS NOT NULL AND meter."timestamp" > heard_until
       OR vehicle.kwh_delivered_dc IS NOT NULL AND vehicle."timestamp" > heard_until)
GROUP BY hour_start
ORDER BY hour_start

-- name: hours_awaiting
-- Computed hours that lack a reading of one of these devices, which has come now.
SELECT DISTINCT hour_start
FROM awaited_reading
     JOIN unnest(%(devices)s::text[], %(times)s::timestamptz[]) AS heard (device_id, heard_at)
         ON awaited_reading.device_id = heard.device_id COLLATE "C" AND heard_at > heard_until
WHERE stream = %(stream)s AND hour_start >= %(since)s AND hour_start < %(before)s

-- name: count_refinements
UPDATE refinements SET hours = hours + %(hours)s

-- name: refinements
SELECT hours FROM refinements

-- name: forget_crossing_of_hours
DELETE FROM crossing_reading WHERE hour_start = ANY(%(hours)s)

-- name: copy_crossing_readings
COPY crossing_reading (hour_start, stream, device_id, since, until) FROM STDIN

-- name: forget_crossing_before
DELETE FROM crossing_reading WHERE hour_start < %(before)s

-- name: hours_crossed
-- Hours outside of a run that are computed with readings in its time, and when they were.
SELECT hour_start, device_id, since, until, min(computed_at) AS computed_at
FROM crossing_reading JOIN partition_ledger ON hour = hour_start
WHERE crossing_reading.stream = %(stream)s AND until > %(start)s AND since < %(end)s
  AND NOT (hour_start >= %(start)s AND hour_start < %(end)s)
GROUP BY hour_start, device_id, since, until
