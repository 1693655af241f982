-- The newest heartbeat of each device by event time.
-- Every heartbeat rewrites its row: half-empty pages and no index on a changing column keep all
-- updates heap-only (HOT), so the tables do not grow.

CREATE TABLE meter_live_state (
    meter_id        text PRIMARY KEY,
    "timestamp"     timestamptz NOT NULL,
    kwh_consumed_ac double precision,
    voltage         double precision,
    reading_type    text NOT NULL,
    received_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE vehicle_live_state (
    vehicle_id       text PRIMARY KEY,
    "timestamp"      timestamptz NOT NULL,
    kwh_delivered_dc double precision,
    soc              double precision,
    battery_temp     double precision,
    meter_id         text,
    reading_type     text NOT NULL,
    received_at      timestamptz NOT NULL
) WITH (fillfactor = 50);

COMMENT ON TABLE meter_live_state IS 'newest heartbeat of each meter, by event time';
COMMENT ON TABLE vehicle_live_state IS 'newest heartbeat of each vehicle, by event time';
COMMENT ON COLUMN meter_live_state.kwh_consumed_ac IS 'kWh, as sent: interval or register';
COMMENT ON COLUMN meter_live_state.voltage IS 'volt';
COMMENT ON COLUMN vehicle_live_state.kwh_delivered_dc IS 'kWh, as sent: interval or register';
COMMENT ON COLUMN vehicle_live_state.soc IS 'state of charge, percent';
COMMENT ON COLUMN vehicle_live_state.battery_temp IS 'degrees Celsius';
COMMENT ON COLUMN vehicle_live_state.meter_id IS 'the meter the vehicle said it charges from';
