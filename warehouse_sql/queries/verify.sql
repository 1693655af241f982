-- name: ledger_between
-- What the ledger says of each hour, and whether the hour waits for its computation.
SELECT ledger.stream, ledger.hour, ledger.raw_rows, ledger.raw_version, ledger.compacted_version,
       ledger.compacted_rows, ledger.duplicates_removed, ledger.computed_version,
       ledger.published_version, ledger.revision,
       ledger.raw_dropped_at IS NOT NULL AS raw_dropped,
       waiting.hour IS NOT NULL AS waits
FROM partition_ledger AS ledger LEFT JOIN unpublished_hour AS waiting USING (stream, hour)
WHERE ledger.hour >= %(start)s AND ledger.hour < %(end)s
ORDER BY ledger.hour, ledger.stream

-- name: hold_ledger_hours
-- Make the rows of these hours, where they are missing, and lock all of them until the transaction
-- ends: in the order in which the lake writer locks them, so that the two can't block each other.
INSERT INTO partition_ledger AS ledger (stream, hour, raw_rows, raw_version, last_arrival)
SELECT %(stream)s, hour, 0, 0, last_arrival
FROM unnest(%(hours)s::timestamptz[], %(arrivals)s::timestamptz[]) AS held (hour, last_arrival)
ORDER BY hour
ON CONFLICT (stream, hour) DO UPDATE SET
    last_arrival = greatest(ledger.last_arrival, excluded.last_arrival)
RETURNING hour, raw_rows

-- name: set_ledger_rows
-- Rows that were dropped from the raw table after their retention count as well.
UPDATE partition_ledger AS ledger SET
    raw_rows = found.raw_rows + ledger.raw_dropped_rows,
    raw_version = %(version)s
FROM unnest(%(hours)s::timestamptz[], %(rows)s::bigint[]) AS found (hour, raw_rows)
WHERE ledger.stream = %(stream)s AND ledger.hour = found.hour

-- name: delivered_outbox_hours
-- Heartbeats that the lake has already, and that the ledger does not count before the outbox has
-- forgotten them.
SELECT hour, sum(rows)::bigint AS rows
FROM (SELECT date_trunc('hour', "timestamp", 'UTC') AS hour, count(*) AS rows
      FROM meter_heartbeat_outbox
      WHERE %(stream)s = 'meter' AND xid < (%(horizon)s::bigint)::text::xid8
      GROUP BY 1
      UNION ALL
      SELECT date_trunc('hour', "timestamp", 'UTC'), count(*)
      FROM vehicle_heartbeat_outbox
      WHERE %(stream)s = 'vehicle' AND xid < (%(horizon)s::bigint)::text::xid8
      GROUP BY 1
      UNION ALL
      SELECT packed.hour, packed.rows
      FROM heartbeat_pack, unnest(hours, hour_rows) AS packed (hour, rows)
      WHERE stream = %(stream)s AND xid < (%(horizon)s::bigint)::text::xid8
     ) AS delivered
WHERE hour = ANY(%(hours)s)
GROUP BY hour

-- name: reopen_damaged_hours
-- The next run computes them again. Where the history is wrong, readers take the raw rows until then.
UPDATE partition_ledger AS ledger SET
    revision = ledger.revision + 1,
    compacted_version = CASE WHEN damaged.history THEN NULL ELSE ledger.compacted_version END
FROM (SELECT stream, locked.hour, found.history
      FROM partition_ledger AS locked
      JOIN unnest(%(hours)s::timestamptz[], %(histories)s::boolean[]) AS found (hour, history)
          ON locked.hour = found.hour
      ORDER BY stream, locked.hour FOR UPDATE OF locked) AS damaged
WHERE ledger.stream = damaged.stream AND ledger.hour = damaged.hour
RETURNING ledger.hour

-- name: ledger_of_day
-- The first hour of a day, and whether an hour of it or of its look-back waits, or when one of them
-- was last taken in.
SELECT min(hour) FILTER (WHERE hour >= %(start)s) AS first_hour,
       max(ledger.compacted_at) AS compacted_at,
       coalesce(bool_or(waiting.hour IS NOT NULL), false) AS waits
FROM partition_ledger AS ledger LEFT JOIN unpublished_hour AS waiting USING (stream, hour)
WHERE hour >= %(since)s AND hour < %(end)s
