-- All advisory locks, in whichever file, each with a number of its own; a test holds the list.
--   6734        the lake writer
--   6735        who stores rejections
--   6736, work  the one collector that does a work, such as to deliver alerts or reports
--   6737        who adds events of alerts
--   6738        who counts the rows of a raw table, and in the shared mode who changes them
--   6739, key   who imports a file
-- And 0x57A77, of who migrates: warehouse_sql/migrate.py.

-- Of who counts the rows of a raw table for the ledger, and who changes them first there and then here.

-- name: hold_off_counts
-- By an import that appends, until its transaction has added that to the ledger.
SELECT pg_advisory_xact_lock_shared(6738)

-- name: hold_off_counts_until_let
-- By a retention that drops rows.
SELECT pg_advisory_lock_shared(6738)

-- name: let_counts
SELECT pg_advisory_unlock_shared(6738)

-- name: begin_count
-- By who counts, until the end of its transaction.
SELECT pg_advisory_xact_lock(6738)

-- name: try_begin_count
SELECT pg_try_advisory_xact_lock(6738)
