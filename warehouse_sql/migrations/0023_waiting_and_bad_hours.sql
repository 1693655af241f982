-- How long the hours that wait will take is told by how many were computed lately.

ALTER TABLE partition_ledger ADD COLUMN published_at timestamptz;

COMMENT ON COLUMN partition_ledger.published_at IS 'when the efficiency marts last took this hour in; null: never, or before this column was there';

-- A check looks at the hours of a run. What it found in others stands until they are computed again.
CREATE TABLE bad_hour (
    asset      text NOT NULL,
    check_name text NOT NULL,
    hour       timestamptz NOT NULL,
    offenders  bigint NOT NULL CHECK (offenders > 0),
    found_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset, check_name, hour)
);

COMMENT ON TABLE bad_hour IS 'hours that do not pass a check of Dagster, as they were last computed';
COMMENT ON COLUMN bad_hour.asset IS 'key of the asset that is checked';
COMMENT ON COLUMN bad_hour.offenders IS 'how many rows of the hour break the check';
