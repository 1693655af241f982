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
