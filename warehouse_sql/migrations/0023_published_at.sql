-- How long the hours that wait will take is told by how many were computed lately.

ALTER TABLE partition_ledger ADD COLUMN published_at timestamptz;

COMMENT ON COLUMN partition_ledger.published_at IS 'when the efficiency marts last took this hour in; null: never, or before this column was there';
