-- The marts hold the newest hours; the lake holds all.

COMMENT ON TABLE vehicle_efficiency_hourly IS 'energy and efficiency of each vehicle and UTC hour of the last MART_RETENTION_DAYS; the same rows as the lake''s table';
COMMENT ON TABLE fleet_efficiency_hourly IS 'energy and efficiency of the fleet by UTC hour of the last MART_RETENTION_DAYS; the same rows as the lake''s table';
