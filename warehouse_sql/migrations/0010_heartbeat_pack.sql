-- A commit of many heartbeats puts them into the outbox as one packed row: inserting, reading and
-- deleting a row for each would cost more than everything else the collector does. Commits of few
-- stay rows of their own in the tables of 0002.

CREATE TABLE heartbeat_pack (
    stream        text NOT NULL CHECK (stream IN ('meter', 'vehicle')),
    heartbeats    bytea NOT NULL,
    rows          bigint NOT NULL,
    hours         timestamptz[] NOT NULL,
    hour_rows     bigint[] NOT NULL,
    last_received timestamptz NOT NULL,
    xid           xid8 NOT NULL DEFAULT pg_current_xact_id()
);
-- They are compressed before they come.
ALTER TABLE heartbeat_pack ALTER COLUMN heartbeats SET STORAGE EXTERNAL;

COMMENT ON TABLE heartbeat_pack IS 'acknowledged heartbeats on their way to the lake, many in a row';
COMMENT ON COLUMN heartbeat_pack.heartbeats IS 'Arrow IPC stream with the columns of the outbox, LZ4';
COMMENT ON COLUMN heartbeat_pack.rows IS 'number of heartbeats in it';
COMMENT ON COLUMN heartbeat_pack.hours IS 'UTC hours of their event times, ascending';
COMMENT ON COLUMN heartbeat_pack.hour_rows IS 'number of heartbeats in each of these hours';
COMMENT ON COLUMN heartbeat_pack.last_received IS 'newest receipt time among them';

-- Ids are compared by their bytes, as the collector sorts them: so every collector locks the rows
-- of live state in one order, whatever the locale of the database.
ALTER TABLE meter_live_state ALTER COLUMN meter_id TYPE text COLLATE "C";
ALTER TABLE vehicle_live_state ALTER COLUMN vehicle_id TYPE text COLLATE "C";

-- A lake writer that knows no packs would raise the horizon past them, and the next one forget them
-- undelivered: under this name it finds no horizon to announce, and stops before its append.
ALTER TABLE outbox_delivery RENAME COLUMN announced TO announced_horizon;
