-- An hour is computed when it closes, with what is there. What it lacked then, the reading that crosses
-- its end, comes a little later, of a slow device hours later: the hour is computed again with it.

CREATE TABLE awaited_reading (
    hour_start  timestamptz NOT NULL CHECK (date_trunc('hour', hour_start, 'UTC') = hour_start),
    stream      text NOT NULL CHECK (stream IN ('meter', 'vehicle')),
    device_id   text COLLATE "C" NOT NULL,
    heard_until timestamptz NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hour_start, stream, device_id)
);

COMMENT ON TABLE awaited_reading IS 'readings that an hour lacked when it was last computed; forgotten when nobody waits for them any more';
COMMENT ON COLUMN awaited_reading.heard_until IS 'the hour lacks a reading with an energy of a later event time than this';
COMMENT ON COLUMN awaited_reading.noted_at IS 'when the hour was last computed';

-- A heartbeat that comes late changes hours beside its own, too. They are computed in the run of that hour.
ALTER TABLE partition_ledger
    ADD COLUMN first_flush_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN computed_at timestamptz,
    ADD COLUMN changed_by timestamptz;

CREATE INDEX partition_ledger_changed ON partition_ledger (changed_by) WHERE changed_by IS NOT NULL;

COMMENT ON COLUMN partition_ledger.first_flush_at IS 'when the lake took in the first heartbeats of this hour; of an older installation: when this column was made';
COMMENT ON COLUMN partition_ledger.computed_at IS 'when the last computation began; what the lake took in later was not known to it. null: never, or before this column was there';
COMMENT ON COLUMN partition_ledger.changed_by IS 'the first of the hours whose new heartbeats last changed this one, which lies beside them';

CREATE TABLE refinements (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    hours   bigint NOT NULL DEFAULT 0
);
INSERT INTO refinements DEFAULT VALUES;

COMMENT ON TABLE refinements IS 'how many hours were computed again because a reading came that they had lacked';
