-- name: raw_totals
-- What the raw table of a stream holds, by the ledger.
SELECT coalesce(sum(raw_rows - raw_dropped_rows), 0)::bigint AS rows, count(*) AS hours,
       min(hour) AS first_hour, max(hour) AS last_hour, max(last_arrival) AS last_arrival,
       (SELECT count(*) FROM unpublished_hour
        WHERE stream = %(stream)s AND hour >= (SELECT hour FROM first_hour)) AS hours_waiting
FROM partition_ledger WHERE stream = %(stream)s AND raw_rows > raw_dropped_rows

-- name: waiting_hours
-- Hours whose heartbeats or links the marts have not taken in.
SELECT hour, stream, raw_rows, raw_version, last_arrival
FROM unpublished_hour
WHERE hour >= %(start)s AND hour < %(end)s
ORDER BY hour, stream

-- name: computed_hours_between
SELECT hour, min(computed_at) FROM partition_ledger
WHERE hour >= %(start)s AND hour < %(end)s
GROUP BY hour HAVING bool_or(compacted_version IS NOT NULL)
ORDER BY hour

-- name: reopen_beside
-- Rows are locked as in `reopen_hours`.
UPDATE partition_ledger SET revision = revision + 1, changed_by = %(changed_by)s
WHERE (stream, hour) IN (SELECT stream, hour FROM partition_ledger
                         WHERE hour = ANY(%(hours)s) ORDER BY stream, hour FOR UPDATE)

-- name: changed_hours
-- Of an hour whose own heartbeats wait the turn comes with them.
SELECT hour FROM partition_ledger
WHERE changed_by BETWEEN %(first)s AND %(last)s AND waiting_since IS NOT NULL
GROUP BY hour HAVING bool_and(coalesce(compacted_version >= raw_version, false))
ORDER BY hour

-- name: counted_hours
SELECT hour, raw_rows, raw_version, raw_dropped_at IS NOT NULL AS dropped
FROM partition_ledger WHERE stream = %(stream)s

-- name: appends_uncounted
-- As after an import, until the next flush.
SELECT counted_version < (SELECT max(raw_version) FROM partition_ledger AS ledger
                          WHERE ledger.stream = delivery.stream)
FROM outbox_delivery AS delivery WHERE stream = %(stream)s

-- name: newest_published_hour
SELECT max(hour) AS hour FROM partition_ledger
WHERE published_version IS NOT NULL AND hour <= %(now)s

-- name: state_of_history
SELECT stream, hour, compacted_version AS version, revision, now() AS read_at
FROM partition_ledger WHERE hour = ANY(%(hours)s) ORDER BY hour, stream

-- name: state_of_efficiency
SELECT stream, hour, computed_version AS version, computed_revision AS revision, now() AS read_at
FROM partition_ledger WHERE hour = ANY(%(hours)s) ORDER BY hour, stream

-- name: mark_computed
UPDATE partition_ledger SET computed_version = %(version)s, computed_revision = %(revision)s,
       computed_at = %(read_at)s
WHERE stream = %(stream)s AND hour = %(hour)s

-- name: mark_published
UPDATE partition_ledger SET published_version = %(version)s, published_revision = %(revision)s,
       published_at = now()
WHERE stream = %(stream)s AND hour = %(hour)s

-- name: sessions_of_runs
-- The names of the sessions that runs hold, and the newest start of the server: the first, or the
-- one after a crash of one of its processes, which ends all sessions and starts the checkpointer anew
-- (null for an account that may not see that).
SELECT coalesce(array_agg(application_name) FILTER (
           WHERE datname = current_database() AND application_name LIKE 'wattlake-run-%%'), '{}'),
       greatest(pg_postmaster_start_time(),
                max(backend_start) FILTER (WHERE backend_type = 'checkpointer'))
FROM pg_stat_activity

-- name: note_bad_hours
-- What a check has found in `hours`: the bad ones among them, with their offenders; the rest is good.
WITH found AS (
    SELECT hour, offenders
    FROM unnest(%(bad)s::timestamptz[], %(offenders)s::bigint[]) AS found (hour, offenders)
), good AS (
    DELETE FROM bad_hour
    WHERE asset = %(asset)s AND check_name = %(check)s AND hour = ANY(%(hours)s)
      AND hour NOT IN (SELECT hour FROM found)
)
INSERT INTO bad_hour (asset, check_name, hour, offenders)
SELECT %(asset)s, %(check)s, hour, offenders FROM found
ON CONFLICT (asset, check_name, hour) DO UPDATE SET
    offenders = excluded.offenders, found_at = excluded.found_at

-- name: bad_hours
SELECT hour, offenders FROM bad_hour
WHERE asset = %(asset)s AND check_name = %(check)s AND hour >= %(since)s
ORDER BY hour DESC
