-- Which meter feeds which vehicle, and when.

CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE charging_link (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id   text NOT NULL,
    vehicle_id text NOT NULL,
    valid      tstzrange NOT NULL CHECK (NOT isempty(valid) AND lower_inc(valid) AND NOT upper_inc(valid)),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_vehicle_at_a_time EXCLUDE USING gist (meter_id WITH =, valid WITH &&)
);
CREATE INDEX charging_link_by_vehicle ON charging_link USING gist (vehicle_id, valid);

-- Pairs that a vehicle's own heartbeats named. When they were linked stands in the heartbeats;
-- this table only tells that the pairing rule has no say over these devices.
CREATE TABLE named_link (
    vehicle_id     text NOT NULL,
    meter_id       text NOT NULL,
    first_named_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (vehicle_id, meter_id)
);
CREATE INDEX named_link_by_meter ON named_link (meter_id);

COMMENT ON TABLE charging_link IS 'a meter feeds a vehicle over a half-open UTC time range';
COMMENT ON TABLE named_link IS 'pairs of vehicle and meter that a vehicle heartbeat has ever named';
