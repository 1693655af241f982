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
