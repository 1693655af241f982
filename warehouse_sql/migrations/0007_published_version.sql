-- An hour is done when what follows from its history stands in the marts; a run that fails after the
-- compaction leaves it undone.

ALTER TABLE partition_ledger ADD COLUMN published_version bigint;

CREATE VIEW unpublished_hour AS
SELECT stream, hour, raw_rows, raw_version, last_arrival, compacted_version, published_version
FROM partition_ledger
WHERE published_version IS NULL OR published_version < raw_version;

COMMENT ON COLUMN partition_ledger.published_version IS 'version of the raw table that the efficiency marts have taken in';
COMMENT ON VIEW unpublished_hour IS 'hours with heartbeats that the efficiency marts have not taken in yet';
