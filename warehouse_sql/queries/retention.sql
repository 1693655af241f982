-- name: raw_hours_before
-- Hours that the raw table still holds rows of, and whether the history has taken them in.
SELECT hour, raw_rows, raw_rows - raw_dropped_rows AS rows_left,
       coalesce(compacted_version >= raw_version, false) AS compacted
FROM partition_ledger
WHERE stream = %(stream)s AND hour < %(before)s AND raw_rows > raw_dropped_rows
ORDER BY hour

-- name: announce_raw_drop
UPDATE partition_ledger SET raw_dropped_at = now()
WHERE stream = %(stream)s AND hour = %(hour)s

-- name: settle_raw_drop
UPDATE partition_ledger SET
    raw_dropped_at = coalesce(raw_dropped_at, now()),
    raw_dropped_rows = greatest(raw_dropped_rows, %(rows)s)
WHERE stream = %(stream)s AND hour = %(hour)s

-- name: hours_with_dropped_rows
SELECT hour FROM partition_ledger
WHERE stream = %(stream)s AND hour = ANY(%(hours)s) AND raw_dropped_at IS NOT NULL
