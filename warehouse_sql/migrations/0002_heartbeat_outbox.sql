-- Heartbeats that are acknowledged and not yet in the lake. No index: the hot path only inserts,
-- and a flush takes nearly every row. xid orders rows by transaction for the flush horizon.

CREATE TABLE meter_heartbeat_outbox (
    meter_id        text NOT NULL,
    "timestamp"     timestamptz NOT NULL,
    kwh_consumed_ac double precision,
    voltage         double precision,
    reading_type    text NOT NULL,
    received_at     timestamptz NOT NULL,
    xid             xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE vehicle_heartbeat_outbox (
    vehicle_id       text NOT NULL,
    "timestamp"      timestamptz NOT NULL,
    kwh_delivered_dc double precision,
    soc              double precision,
    battery_temp     double precision,
    meter_id         text,
    reading_type     text NOT NULL,
    received_at      timestamptz NOT NULL,
    xid              xid8 NOT NULL DEFAULT pg_current_xact_id()
);

COMMENT ON TABLE meter_heartbeat_outbox IS 'acknowledged meter heartbeats on their way to the lake';
COMMENT ON TABLE vehicle_heartbeat_outbox IS 'acknowledged vehicle heartbeats on their way to the lake';
