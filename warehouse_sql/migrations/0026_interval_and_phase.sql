-- What a device declares of a heartbeat: the time in which its energy flowed, and of a meter the phase
-- that it measures. Adding them rewrites nothing; heartbeats from before have a null.

ALTER TABLE meter_live_state ADD COLUMN interval_seconds double precision, ADD COLUMN phase text;
ALTER TABLE vehicle_live_state ADD COLUMN interval_seconds double precision;
ALTER TABLE meter_heartbeat_outbox
    ADD COLUMN interval_seconds double precision, ADD COLUMN phase text;
ALTER TABLE vehicle_heartbeat_outbox ADD COLUMN interval_seconds double precision;

COMMENT ON COLUMN meter_live_state.interval_seconds IS
    'declared time in which the energy flowed, seconds before the timestamp';
COMMENT ON COLUMN vehicle_live_state.interval_seconds IS
    'declared time in which the energy flowed, seconds before the timestamp';
COMMENT ON COLUMN meter_live_state.phase IS
    'phase that the newest heartbeat measures: of several at one time the last received; null: all';
