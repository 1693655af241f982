-- The pairing rule looks for the devices whose ids end in one number; without an index each look goes
-- through every device. An id never changes, so updates of live state stay heap-only.
CREATE INDEX device_by_trailing_number
    ON device (ltrim(substring(device_id FROM '[0-9]+$'), '0'));
CREATE INDEX meter_live_state_by_trailing_number
    ON meter_live_state (ltrim(substring(meter_id FROM '[0-9]+$'), '0'));
CREATE INDEX vehicle_live_state_by_trailing_number
    ON vehicle_live_state (ltrim(substring(vehicle_id FROM '[0-9]+$'), '0'));
