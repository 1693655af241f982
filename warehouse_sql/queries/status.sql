-- name: hours_waiting
-- The hours that are over and wait for their computation, and how many seconds they will take as fast
-- as it went in the last quarter of an hour; null where nothing was computed then.
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
                           ELSE (waiting.hours * done.seconds / nullif(done.hours, 0))::float8
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
