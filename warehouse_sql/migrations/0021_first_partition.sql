-- Where the hours and days begin that are computed: a year before the installation, or where older
-- data begins. Whoever brings such data lowers it, and nothing raises it.

CREATE TABLE first_partition (
    day    date NOT NULL,
    set_to date
);
CREATE UNIQUE INDEX first_partition_is_one ON first_partition ((true));

INSERT INTO first_partition (day)
SELECT least((now() AT TIME ZONE 'UTC')::date - 365, (min(hour) AT TIME ZONE 'UTC')::date)
FROM partition_ledger WHERE hour >= '2016-01-01T00:00:00Z';

-- An hour before this one is not computed until a setting or an import says so. Older heartbeats let
-- the partitions begin earlier by themselves, but for what a clock sends that stands at its epoch:
-- Dagster advises at most 100,000 partitions.
CREATE VIEW first_hour AS
SELECT coalesce(set_to::timestamp AT TIME ZONE 'UTC',
                least(day::timestamp AT TIME ZONE 'UTC',
                      date_trunc('day', now() - interval '100000 hours', 'UTC'))) AS hour
FROM first_partition;

COMMENT ON TABLE first_partition IS 'one row: the first UTC day that is computed';
COMMENT ON COLUMN first_partition.day IS 'where the partitions begin by themselves';
COMMENT ON COLUMN first_partition.set_to IS 'PARTITIONS_START of the Dagster that runs; null where it is not set';
COMMENT ON VIEW first_hour IS 'the first UTC hour that is computed, or will be without a hand';
