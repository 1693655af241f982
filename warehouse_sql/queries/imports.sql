-- name: try_import_lock
-- Held by the session that imports a file; the key is made of its content.
SELECT pg_try_advisory_lock(6739, %(key)s)

-- name: import_under_way
-- An import of files appends to the lake before it adds to the ledger, and holds this lock.
SELECT EXISTS (SELECT FROM pg_locks
               WHERE locktype = 'advisory' AND classid = 6739 AND objsubid = 2
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))

-- name: import_transaction
-- The id of the transaction that will note an append in the ledger. The append records it, so that
-- whoever goes on after a crash can ask what became of it.
SELECT pg_current_xact_id()::text::bigint

-- name: transaction_outcome
-- committed, aborted or in progress; null if it is too long ago.
SELECT pg_xact_status(%(transaction)s::text::xid8)

-- name: settle_import
INSERT INTO partition_ledger AS ledger (stream, hour, raw_rows, raw_version, last_arrival)
SELECT %(stream)s, hour, rows, %(version)s, %(received_at)s
FROM unnest(%(hours)s::timestamptz[], %(rows)s::bigint[]) AS of_hour (hour, rows)
ORDER BY hour
ON CONFLICT (stream, hour) DO UPDATE SET
    raw_rows = ledger.raw_rows + excluded.raw_rows,
    raw_version = greatest(ledger.raw_version, excluded.raw_version),
    last_arrival = greatest(ledger.last_arrival, excluded.last_arrival)
