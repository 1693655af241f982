-- What the lake holds of each stream and hour, and which hours wait for a compaction.

CREATE TABLE partition_ledger (
    stream             text NOT NULL CHECK (stream IN ('meter', 'vehicle')),
    hour               timestamptz NOT NULL CHECK (date_trunc('hour', hour, 'UTC') = hour),
    raw_rows           bigint NOT NULL DEFAULT 0,
    raw_version        bigint NOT NULL,
    last_arrival       timestamptz NOT NULL,
    compacted_version  bigint,
    compacted_rows     bigint,
    duplicates_removed bigint,
    compacted_at       timestamptz,
    PRIMARY KEY (stream, hour)
);

CREATE VIEW dirty_hour AS
SELECT stream, hour, raw_rows, raw_version, last_arrival, compacted_version
FROM partition_ledger
WHERE compacted_version IS NULL OR compacted_version < raw_version;

COMMENT ON TABLE partition_ledger IS 'one row for each stream and UTC hour that has heartbeats in the lake';
COMMENT ON COLUMN partition_ledger.raw_rows IS 'heartbeats ever appended to the raw table for this hour, duplicates included';
COMMENT ON COLUMN partition_ledger.raw_version IS 'version of the raw table that holds the last of them';
COMMENT ON COLUMN partition_ledger.last_arrival IS 'newest receipt time among them';
COMMENT ON COLUMN partition_ledger.compacted_version IS 'version of the raw table that the history has taken in';
COMMENT ON COLUMN partition_ledger.compacted_rows IS 'distinct heartbeats in the history of this hour';
COMMENT ON COLUMN partition_ledger.duplicates_removed IS 'raw rows that the history does not repeat';
COMMENT ON VIEW dirty_hour IS 'hours with heartbeats that the history has not taken in yet';
