-- What the efficiency of an hour is changes without a heartbeat, too, when a charging link is made.
-- And what the marts hold is what the lake's efficiency was computed from, not what the history has
-- taken in since. Both are noted, so that an hour is done only when the marts hold its last state.

ALTER TABLE partition_ledger
    ADD COLUMN revision bigint NOT NULL DEFAULT 0,
    ADD COLUMN computed_version bigint,
    ADD COLUMN computed_revision bigint,
    ADD COLUMN published_revision bigint;

UPDATE partition_ledger SET
    computed_version = published_version,
    computed_revision = revision,
    published_revision = revision
WHERE published_version IS NOT NULL;

CREATE OR REPLACE VIEW unpublished_hour AS
SELECT stream, hour, raw_rows, raw_version, last_arrival, compacted_version, published_version,
       revision, published_revision
FROM partition_ledger
WHERE published_version IS NULL OR published_version < raw_version
   OR published_revision IS DISTINCT FROM revision;

COMMENT ON COLUMN partition_ledger.revision IS 'raised when something other than heartbeats changes the efficiency of this hour: a link, or a pair that was named earlier';
COMMENT ON COLUMN partition_ledger.computed_version IS 'version of the raw table that the efficiency in the lake was computed from';
COMMENT ON COLUMN partition_ledger.computed_revision IS 'revision that the efficiency in the lake was computed from';
COMMENT ON COLUMN partition_ledger.published_revision IS 'revision that the efficiency marts have taken in';
COMMENT ON VIEW unpublished_hour IS 'hours whose heartbeats or links the efficiency marts have not taken in yet';
COMMENT ON COLUMN named_link.first_named_at IS 'event time of the first heartbeat that named the pair';
