-- name: outbox_identity
-- Names the count of transaction ids that xid belongs to: a restored, promoted or copied database
-- continues in another timeline, system or database, where the same number is another transaction.
SELECT concat_ws('-',
                 (SELECT system_identifier FROM pg_control_system()),
                 left(pg_walfile_name(pg_current_wal_lsn()), 8),
                 (SELECT oid FROM pg_database WHERE datname = current_database()))

-- name: commit_durably
-- Whatever the server's default: what a flush announces must not be lost in a crash.
SET synchronous_commit = on

-- name: session_in_utc
SET timezone = 'UTC'

-- name: session_with_timeout
-- No statement of this session takes longer than so many milliseconds.
SELECT set_config('statement_timeout', %(milliseconds)s::text, false)

-- name: notice_lost_client
-- For a session that holds a lock: the server ends it some 20 seconds after the client's machine has
-- vanished, which otherwise takes two hours, and the lock with it.
SELECT set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false)

-- name: outbox_delivery
SELECT identity, epoch::text, announced_horizon, lake_table, counted_version, settled_horizon
FROM outbox_delivery WHERE stream = %(stream)s

-- name: deliver_to_table
UPDATE outbox_delivery SET lake_table = %(table)s WHERE stream = %(stream)s

-- name: announce_horizon
-- A commit of its own before the append. Its transaction id is not below the horizon, and once it
-- is durable, no crash can let the server give out an id below the horizon again.
UPDATE outbox_delivery SET announced_horizon = greatest(announced_horizon, %(horizon)s)
WHERE stream = %(stream)s

-- name: begin_epoch
-- What was counted still holds where the epoch before was known.
UPDATE outbox_delivery
SET identity = %(identity)s, epoch = %(epoch)s::uuid,
    announced_horizon = %(begun)s, settled_horizon = %(begun)s,
    counted_version = CASE WHEN %(is_known)s THEN counted_version END
WHERE stream = %(stream)s

-- name: note_settled
-- A lake whose log knows less of this epoch has lost what was delivered.
UPDATE outbox_delivery SET settled_horizon = greatest(settled_horizon, %(horizon)s)
WHERE stream = %(stream)s

-- name: newest_delivered_version
SELECT coalesce(max(raw_version), 0) FROM partition_ledger WHERE stream = %(stream)s

-- name: count_anew
-- The lake writer does it, once its own rows are settled and no import is in the middle of an append.
UPDATE outbox_delivery SET counted_version = NULL WHERE stream = %(stream)s

-- name: restore_ledger
-- Hours of which the lake holds more rows than the ledger knows wait for their computation again.
WITH counted AS (
    UPDATE outbox_delivery SET counted_version = greatest(counted_version, %(version)s)
    WHERE stream = %(stream)s
)
INSERT INTO partition_ledger AS ledger (stream, hour, raw_rows, raw_version, last_arrival)
SELECT %(stream)s, hour, raw_rows, %(version)s, now()
FROM unnest(%(hours)s::timestamptz[], %(rows)s::bigint[]) AS found (hour, raw_rows)
ON CONFLICT (stream, hour) DO UPDATE SET
    raw_rows = ledger.raw_dropped_rows + excluded.raw_rows,
    raw_version = excluded.raw_version,
    last_arrival = excluded.last_arrival
WHERE ledger.raw_rows - ledger.raw_dropped_rows < excluded.raw_rows

-- name: restamp_foreign_meter_outbox
-- Rows that a dump brought from another cluster may carry ids that this one has yet to reach.
UPDATE meter_heartbeat_outbox SET xid = pg_current_xact_id()
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())

-- name: restamp_foreign_vehicle_outbox
UPDATE vehicle_heartbeat_outbox SET xid = pg_current_xact_id()
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())

-- name: restamp_foreign_packs
UPDATE heartbeat_pack SET xid = pg_current_xact_id()
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())

-- name: meter_flush_horizon
-- Every heartbeat with xid below the horizon is visible, and no later commit can add one. The
-- horizon is lowered to a transaction's end where more than a flush may hold lie below the
-- snapshot's: so many rows, or 500 hours of single transactions, because each hour is a file.
SELECT coalesce(min(upto) FILTER (WHERE cost_upto >= %(most_rows)s),
                pg_snapshot_xmin(pg_current_snapshot())::text::bigint) AS horizon,
       coalesce(max(rows_upto), 0)::bigint AS rows_waiting
FROM (SELECT upto, sum(rows) OVER (ORDER BY upto) AS rows_upto,
             sum(cost) OVER (ORDER BY upto) AS cost_upto
      FROM (SELECT xid::text::bigint + 1 AS upto, count(*) AS rows,
                   greatest(count(*), least(count(*),
                       extract(epoch FROM max("timestamp") - min("timestamp"))::bigint / 3600
                   ) * %(most_rows)s::bigint / 500) AS cost
            FROM meter_heartbeat_outbox
            WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
            GROUP BY xid
            UNION ALL
            SELECT xid::text::bigint + 1, rows,
                   greatest(rows, cardinality(hours) * %(most_rows)s::bigint / 500)
            FROM heartbeat_pack
            WHERE stream = 'meter' AND xid < pg_snapshot_xmin(pg_current_snapshot())
           ) AS waiting
     ) AS by_transaction

-- name: vehicle_flush_horizon
SELECT coalesce(min(upto) FILTER (WHERE cost_upto >= %(most_rows)s),
                pg_snapshot_xmin(pg_current_snapshot())::text::bigint) AS horizon,
       coalesce(max(rows_upto), 0)::bigint AS rows_waiting
FROM (SELECT upto, sum(rows) OVER (ORDER BY upto) AS rows_upto,
             sum(cost) OVER (ORDER BY upto) AS cost_upto
      FROM (SELECT xid::text::bigint + 1 AS upto, count(*) AS rows,
                   greatest(count(*), least(count(*),
                       extract(epoch FROM max("timestamp") - min("timestamp"))::bigint / 3600
                   ) * %(most_rows)s::bigint / 500) AS cost
            FROM vehicle_heartbeat_outbox
            WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
            GROUP BY xid
            UNION ALL
            SELECT xid::text::bigint + 1, rows,
                   greatest(rows, cardinality(hours) * %(most_rows)s::bigint / 500)
            FROM heartbeat_pack
            WHERE stream = 'vehicle' AND xid < pg_snapshot_xmin(pg_current_snapshot())
           ) AS waiting
     ) AS by_transaction

-- name: read_meter_outbox
-- For ADBC, hence the numbered parameter and the text of xid8, which Arrow has no type for.
SELECT meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, interval_seconds, phase,
       received_at
FROM meter_heartbeat_outbox WHERE xid < ($1::bigint)::text::xid8

-- name: read_vehicle_outbox
SELECT vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id, reading_type,
       interval_seconds, received_at
FROM vehicle_heartbeat_outbox WHERE xid < ($1::bigint)::text::xid8

-- name: read_packs
SELECT heartbeats FROM heartbeat_pack
WHERE stream = %(stream)s AND xid < (%(horizon)s::bigint)::text::xid8

-- name: settle_meter_outbox
-- Forget what the lake has, and note it in the ledger, together with what other databases have appended
-- since `counted`: one statement, so that two writers who settle the same rows count them once, and so
-- that the ledger is the lake at a version.
WITH counted AS (
    UPDATE outbox_delivery SET counted_version = %(version)s
    WHERE stream = 'meter' AND counted_version = %(counted)s
    RETURNING stream
), delivered AS (
    DELETE FROM meter_heartbeat_outbox WHERE xid < (%(horizon)s::bigint)::text::xid8
    RETURNING date_trunc('hour', "timestamp", 'UTC') AS hour, received_at
), delivered_pack AS (
    DELETE FROM heartbeat_pack
    WHERE stream = 'meter' AND xid < (%(horizon)s::bigint)::text::xid8
    RETURNING hours, hour_rows, last_received
), of_hour AS (
    SELECT hour, count(*) AS rows, max(received_at) AS last_received FROM delivered GROUP BY hour
    UNION ALL
    SELECT packed.hour, packed.rows, last_received
    FROM delivered_pack, unnest(hours, hour_rows) AS packed (hour, rows)
    UNION ALL
    SELECT elsewhere.hour, elsewhere.rows, elsewhere.arrival
    FROM unnest(%(hours)s::timestamptz[], %(rows)s::bigint[], %(arrivals)s::timestamptz[])
        AS elsewhere (hour, rows, arrival)
    WHERE EXISTS (SELECT FROM counted)
)
INSERT INTO partition_ledger AS ledger (stream, hour, raw_rows, raw_version, last_arrival)
SELECT 'meter', hour, sum(rows), %(version)s, max(last_received)
FROM of_hour GROUP BY hour ORDER BY hour
ON CONFLICT (stream, hour) DO UPDATE SET
    raw_rows = ledger.raw_rows + excluded.raw_rows,
    raw_version = greatest(ledger.raw_version, excluded.raw_version),
    last_arrival = greatest(ledger.last_arrival, excluded.last_arrival)

-- name: settle_vehicle_outbox
WITH counted AS (
    UPDATE outbox_delivery SET counted_version = %(version)s
    WHERE stream = 'vehicle' AND counted_version = %(counted)s
    RETURNING stream
), delivered AS (
    DELETE FROM vehicle_heartbeat_outbox WHERE xid < (%(horizon)s::bigint)::text::xid8
    RETURNING date_trunc('hour', "timestamp", 'UTC') AS hour, received_at
), delivered_pack AS (
    DELETE FROM heartbeat_pack
    WHERE stream = 'vehicle' AND xid < (%(horizon)s::bigint)::text::xid8
    RETURNING hours, hour_rows, last_received
), of_hour AS (
    SELECT hour, count(*) AS rows, max(received_at) AS last_received FROM delivered GROUP BY hour
    UNION ALL
    SELECT packed.hour, packed.rows, last_received
    FROM delivered_pack, unnest(hours, hour_rows) AS packed (hour, rows)
    UNION ALL
    SELECT elsewhere.hour, elsewhere.rows, elsewhere.arrival
    FROM unnest(%(hours)s::timestamptz[], %(rows)s::bigint[], %(arrivals)s::timestamptz[])
        AS elsewhere (hour, rows, arrival)
    WHERE EXISTS (SELECT FROM counted)
)
INSERT INTO partition_ledger AS ledger (stream, hour, raw_rows, raw_version, last_arrival)
SELECT 'vehicle', hour, sum(rows), %(version)s, max(last_received)
FROM of_hour GROUP BY hour ORDER BY hour
ON CONFLICT (stream, hour) DO UPDATE SET
    raw_rows = ledger.raw_rows + excluded.raw_rows,
    raw_version = greatest(ledger.raw_version, excluded.raw_version),
    last_arrival = greatest(ledger.last_arrival, excluded.last_arrival)

-- name: meter_outbox_of_device
SELECT meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, interval_seconds, phase,
       received_at
FROM meter_heartbeat_outbox
WHERE meter_id = ANY($1) AND "timestamp" >= $2 AND "timestamp" < $3

-- name: vehicle_outbox_of_device
SELECT vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id, reading_type,
       interval_seconds, received_at
FROM vehicle_heartbeat_outbox
WHERE vehicle_id = ANY($1) AND "timestamp" >= $2 AND "timestamp" < $3

-- name: packs_wait
SELECT EXISTS (SELECT FROM heartbeat_pack) AS wait

-- name: packs_between
-- Packs that may hold heartbeats of a window.
SELECT heartbeats FROM heartbeat_pack
WHERE stream = %(stream)s
  AND hours[1] < %(end)s AND hours[cardinality(hours)] > %(start)s::timestamptz - interval '1 hour'

-- name: outbox_backlog
-- Heartbeats that wait, the bytes they take (a row of its own has about 130), the receipt time of the
-- oldest (null where none waits), and how many heartbeats are in the lake already.
SELECT 'meter' AS stream, sum(rows)::bigint AS rows, sum(bytes)::bigint AS bytes,
       min(oldest) AS oldest,
       (SELECT coalesce(sum(raw_rows), 0)::bigint FROM partition_ledger
        WHERE stream = 'meter') AS rows_in_lake
FROM (SELECT count(*), 130 * count(*), min(received_at) FROM meter_heartbeat_outbox
      UNION ALL
      SELECT coalesce(sum(rows), 0), coalesce(sum(octet_length(heartbeats)), 0), min(last_received)
      FROM heartbeat_pack WHERE stream = 'meter') AS waiting (rows, bytes, oldest)
UNION ALL
SELECT 'vehicle', sum(rows)::bigint, sum(bytes)::bigint, min(oldest),
       (SELECT coalesce(sum(raw_rows), 0)::bigint FROM partition_ledger WHERE stream = 'vehicle')
FROM (SELECT count(*), 130 * count(*), min(received_at) FROM vehicle_heartbeat_outbox
      UNION ALL
      SELECT coalesce(sum(rows), 0), coalesce(sum(octet_length(heartbeats)), 0), min(last_received)
      FROM heartbeat_pack WHERE stream = 'vehicle') AS waiting (rows, bytes, oldest)

-- name: oldest_writing_transaction
-- No heartbeat that came after this transaction's first write can be flushed before it ends.
SELECT pid, coalesce(nullif(application_name, ''), usename, '?') AS name,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY age(backend_xid) DESC
LIMIT 1

-- name: try_writer_lock
-- Held by the session of the one lake writer of this database.
SELECT pg_try_advisory_lock(6734)
