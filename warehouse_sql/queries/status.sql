-- name: hours_waiting
-- The hours that are over and wait for their computation, and how many seconds they will take as fast
-- as it went in the last quarter of an hour; null where too few were computed then to tell a pace.
WITH waiting AS (
    SELECT count(DISTINCT hour) AS hours FROM unpublished_hour
    WHERE hour <= now() - interval '1 hour' AND hour >= (SELECT hour FROM first_hour)
), done AS (
    SELECT count(DISTINCT hour) AS hours,
           extract(epoch FROM now() - greatest(min(compacted_at), now() - interval '1 hour'))
               AS seconds
    FROM partition_ledger WHERE published_at > now() - interval '15 minutes'
)
SELECT waiting.hours, CASE WHEN waiting.hours = 0 THEN 0
                           WHEN done.hours < least(waiting.hours, 24) THEN NULL
                           ELSE (waiting.hours * done.seconds / done.hours)::float8
                      END AS seconds
FROM waiting, done

-- name: whole_status
-- What has come in, where it is, and how the newest computed hour looks. An hour that was computed and
-- waits again is both: it has its figures, and better ones are on their way.
WITH ledger AS (
    SELECT coalesce(sum(raw_rows), 0)::bigint AS rows_in_lake,
           count(DISTINCT hour) FILTER (WHERE published_version IS NOT NULL) AS hours_compacted
    FROM partition_ledger
), waiting AS (
    SELECT count(DISTINCT hour) FILTER (WHERE hour >= (SELECT hour FROM first_hour)) AS hours,
           count(DISTINCT hour) FILTER (WHERE hour < (SELECT hour FROM first_hour)) AS never
    FROM unpublished_hour
), outbox AS (
    SELECT (SELECT count(*) FROM meter_heartbeat_outbox)
           + (SELECT count(*) FROM vehicle_heartbeat_outbox)
           + (SELECT coalesce(sum(rows), 0)::bigint FROM heartbeat_pack) AS rows
), statuses AS (
    SELECT jsonb_object_agg(status, vehicles) AS by_status
    FROM (SELECT status, count(*) AS vehicles FROM vehicle_efficiency_hourly
          WHERE hour_start = (SELECT max(hour_start) FROM fleet_efficiency_hourly
                              WHERE hour_start <= %(now)s)
          GROUP BY status) AS newest
)
SELECT ledger.rows_in_lake + outbox.rows AS records_acknowledged, ledger.rows_in_lake,
       outbox.rows AS outbox_rows, ledger.hours_compacted, waiting.hours AS hours_waiting,
       waiting.never AS hours_never_computed,
       coalesce(statuses.by_status, '{}') AS vehicles_by_status
FROM ledger, waiting, outbox, statuses

-- name: daemon_heartbeats
-- The newest and the oldest heartbeat of the threads of Dagster's newest daemon, in UTC.
SELECT max("timestamp"), min("timestamp") FROM dagster.daemon_heartbeats
WHERE daemon_id = (
    SELECT daemon_id FROM dagster.daemon_heartbeats ORDER BY "timestamp" DESC LIMIT 1
)

-- name: figures
-- How far the computed hours go, and which closed ones wait. Those of the last day, and all that are
-- newer than any computed hour, tell whether numbers still come; older ones may be of an import. What
-- was received in the future came while a clock was ahead; where all was, the ledger tells the last.
WITH published AS (
    SELECT max(newest.hour) AS hour
    FROM (VALUES ('meter'), ('vehicle')) AS of_stream (stream),
         LATERAL (SELECT hour FROM partition_ledger
                  WHERE stream = of_stream.stream AND published_version IS NOT NULL
                    AND hour <= %(now)s
                  ORDER BY hour DESC LIMIT 1) AS newest
), waiting AS (
    SELECT ledger.hour, greatest(min(waiting_since), ledger.hour + interval '1 hour') AS since,
           published.hour IS NULL OR ledger.hour > published.hour AS newer
    FROM partition_ledger AS ledger, published
    WHERE waiting_since IS NOT NULL AND ledger.hour + interval '1 hour' <= %(now)s
      AND ledger.hour >= (SELECT hour FROM first_hour)
    GROUP BY ledger.hour, published.hour
), recent AS (
    SELECT * FROM waiting WHERE newer OR hour >= %(now)s - interval '24 hours'
)
SELECT published.hour + interval '1 hour' AS end_at,
       coalesce((SELECT bool_or(newer AND since < %(late)s) FROM recent), false) AS late,
       oldest.hour AS waiting_hour, oldest.since AS waiting_since,
       (SELECT count(*) FROM waiting) - (SELECT count(*) FROM recent) AS older_waiting,
       coalesce(greatest((SELECT max(received_at) FROM meter_live_state
                          WHERE received_at <= %(believed_until)s),
                         (SELECT max(received_at) FROM vehicle_live_state
                          WHERE received_at <= %(believed_until)s)),
                (SELECT max(last_arrival) FROM partition_ledger
                 WHERE last_arrival <= %(believed_until)s)) AS last_heartbeat_at
FROM published LEFT JOIN LATERAL
     (SELECT hour, since FROM recent ORDER BY since, hour LIMIT 1) AS oldest ON true

-- name: ids_alike
-- Ids that differ in letter case only: two devices here, and mostly one and a slip of the pen.
SELECT stream, array_agg(device_id ORDER BY device_id) AS ids
FROM (SELECT 'meter' AS stream, meter_id AS device_id FROM meter_live_state
      UNION ALL
      SELECT 'vehicle', vehicle_id FROM vehicle_live_state) AS device
GROUP BY stream, lower(device_id) HAVING count(*) > 1
ORDER BY stream, lower(device_id)
LIMIT 20
