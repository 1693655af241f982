-- Several databases may deliver to one lake. The ledger of each counts what the others append as well,
-- as the Delta log tells; of the databases that it is told of, a home has the live state as well.

ALTER TABLE outbox_delivery ADD COLUMN counted_version bigint;

CREATE TABLE cell (
    name      text PRIMARY KEY,
    identity  text UNIQUE,
    horizon   bigint,
    since     timestamptz,
    seen_at   timestamptz
);

CREATE TABLE cell_device (
    stream    text NOT NULL CHECK (stream IN ('meter', 'vehicle')),
    device_id text NOT NULL COLLATE "C",
    cell      text NOT NULL REFERENCES cell ON DELETE CASCADE,
    PRIMARY KEY (stream, device_id)
);

CREATE VIEW cell_state AS
SELECT name, seen_at, coalesce(seen_at > now() - interval '1 minute', false) AS is_seen
FROM cell;

COMMENT ON COLUMN outbox_delivery.counted_version IS 'version of the raw table up to which the ledger counts the appends of other databases; null: they are to be counted anew';
COMMENT ON TABLE cell IS 'other databases that deliver to this lake, and whose live state is taken in here';
COMMENT ON COLUMN cell.name IS 'as in CELL_DATABASE_URLS';
COMMENT ON COLUMN cell.identity IS 'system, timeline and database whose transaction ids horizon counts';
COMMENT ON COLUMN cell.horizon IS 'what earlier transactions changed there is taken in';
COMMENT ON COLUMN cell.since IS 'since when collectors there have watched without a break; its devices are silent only after that';
COMMENT ON COLUMN cell.seen_at IS 'up to when it is known what its collectors have heard';
COMMENT ON TABLE cell_device IS 'the cell that each device was last heard by, if it was one';
COMMENT ON VIEW cell_state IS 'cells, and whether each is seen or lost';
