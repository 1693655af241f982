-- name: dirty_hours_between
SELECT stream, hour FROM dirty_hour WHERE hour >= $1 AND hour < $2

-- name: dirty_hours
-- The dirty hours of a stream; where the history never took in any heartbeat of an hour with the time
-- from which the lake has some.
SELECT hour, CASE WHEN compacted_at IS NULL THEN first_flush_at END
FROM partition_ledger JOIN dirty_hour USING (stream, hour)
WHERE stream = %(stream)s

-- name: mark_compacted
UPDATE partition_ledger SET
    compacted_version = greatest(compacted_version, %(version)s),
    compacted_rows = %(rows)s,
    duplicates_removed = %(duplicates)s,
    compacted_at = now()
WHERE stream = %(stream)s AND hour = %(hour)s

-- name: ledger_of_hour
SELECT stream, hour, raw_rows, raw_version, last_arrival, compacted_version, compacted_rows,
       duplicates_removed, compacted_at
FROM partition_ledger WHERE hour = %(hour)s

-- name: reopen_hours
-- A link changes its own time, and with the pairing rule what comes after its end. Rows are locked
-- in the order in which the lake writer does, so that the two can't block each other for ever.
UPDATE partition_ledger SET revision = revision + 1
WHERE (stream, hour) IN (SELECT stream, hour FROM partition_ledger
                         WHERE hour >= date_trunc('hour', %(since)s::timestamptz, 'UTC')
                         ORDER BY stream, hour FOR UPDATE)
