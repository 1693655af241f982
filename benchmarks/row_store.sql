-- The tables of the row store, in the schema that comes first in the search path.
CREATE TABLE meter_history (
    meter_id text NOT NULL, "timestamp" timestamptz NOT NULL, kwh_consumed_ac double precision,
    voltage double precision
);
CREATE TABLE vehicle_history (
    vehicle_id text NOT NULL, "timestamp" timestamptz NOT NULL, kwh_delivered_dc double precision,
    soc double precision, battery_temp double precision
);
CREATE TABLE vehicle_meter (vehicle_id text PRIMARY KEY, meter_id text NOT NULL);
CREATE TABLE meter_live (
    meter_id text PRIMARY KEY, "timestamp" timestamptz NOT NULL, kwh_consumed_ac double precision,
    voltage double precision
);
CREATE TABLE vehicle_live (
    vehicle_id text PRIMARY KEY, "timestamp" timestamptz NOT NULL, kwh_delivered_dc double precision,
    soc double precision, battery_temp double precision
);
