-- Raw rows may go once the history has them. What the raw table still holds of an hour is then less
-- than was ever appended.

ALTER TABLE partition_ledger
    ADD COLUMN raw_dropped_at timestamptz,
    ADD COLUMN raw_dropped_rows bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN partition_ledger.raw_dropped_at IS 'when raw rows of this hour were last dropped, noted right before; null: never';
COMMENT ON COLUMN partition_ledger.raw_dropped_rows IS 'raw rows of this hour that were dropped; raw_rows less these are in the raw table';
