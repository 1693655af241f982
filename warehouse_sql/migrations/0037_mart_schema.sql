-- What BI tools may read: views that say what they hold, and a role that reads nothing else. The hours
-- of chargers join those of vehicles and of the fleet here; those that were published before follow as
-- their hours are computed again.

CREATE TABLE charger_efficiency_hourly (
    hour_start                  timestamptz NOT NULL,
    meter_id                    text NOT NULL,
    charger_class               text,
    energy_ac_kwh               double precision,
    unlinked_energy_ac_kwh      double precision NOT NULL,
    energy_dc_kwh               double precision,
    loss_kwh                    double precision,
    efficiency_percent          double precision,
    status                      text NOT NULL,
    reason                      text,
    data_points_meter           bigint NOT NULL,
    data_points_vehicle         bigint NOT NULL,
    coverage_ac                 double precision NOT NULL,
    coverage_dc                 double precision NOT NULL,
    matched_share_ac            double precision,
    matched_share_dc            double precision,
    longest_gap_seconds         double precision NOT NULL,
    resets                      bigint NOT NULL,
    duplicates                  bigint NOT NULL,
    vehicle_ids                 text[] NOT NULL,
    unlinked_known_ac_seconds   double precision,
    matched_energy_ac_kwh       double precision,
    unmatched_energy_ac_kwh     double precision,
    gross_energy_ac_kwh         double precision,
    gross_matched_energy_ac_kwh double precision,
    unplaced_energy_ac_kwh      double precision,
    left_out_energy_ac_kwh      double precision,
    left_out_ac                 bigint,
    conflicts_ac                bigint,
    conflicting_energy_ac_kwh   double precision,
    known_ac_seconds            double precision,
    first_ac                    timestamptz,
    last_ac                     timestamptz,
    inner_gap_ac_seconds        double precision,
    matched_energy_dc_kwh       double precision,
    unmatched_energy_dc_kwh     double precision,
    gross_energy_dc_kwh         double precision,
    gross_matched_energy_dc_kwh double precision,
    unplaced_energy_dc_kwh      double precision,
    left_out_energy_dc_kwh      double precision,
    left_out_dc                 bigint,
    conflicts_dc                bigint,
    conflicting_energy_dc_kwh   double precision,
    known_dc_seconds            double precision,
    first_dc                    timestamptz,
    last_dc                     timestamptz,
    inner_gap_dc_seconds        double precision,
    PRIMARY KEY (hour_start, meter_id)
);
CREATE INDEX charger_efficiency_hourly_by_meter ON charger_efficiency_hourly (meter_id, hour_start);

COMMENT ON TABLE charger_efficiency_hourly IS 'energy and efficiency of each meter and UTC hour; the same rows as the lake''s table';

CREATE SCHEMA mart;
COMMENT ON SCHEMA mart IS 'read by BI tools; times and days are UTC, energies kWh, money in the currency beside it';

CREATE VIEW mart.vehicle_hours AS SELECT * FROM vehicle_efficiency_hourly;
COMMENT ON VIEW mart.vehicle_hours IS 'energy, efficiency and its evidence of each vehicle and UTC hour, of the last MART_RETENTION_DAYS. Believe the ratio where status is excellent, good, warning or critical; of a longer time add up the matched energies and divide at the end';

CREATE VIEW mart.charger_hours AS SELECT * FROM charger_efficiency_hourly;
COMMENT ON VIEW mart.charger_hours IS 'the same of each meter, whoever charged there; energy_ac_kwh includes unlinked_energy_ac_kwh';

CREATE VIEW mart.fleet_hours AS SELECT * FROM fleet_efficiency_hourly;
COMMENT ON VIEW mart.fleet_hours IS 'energy and efficiency of the fleet by UTC hour, and its vehicles by status';

CREATE VIEW mart.charging_sessions AS SELECT * FROM charging_session;
COMMENT ON VIEW mart.charging_sessions IS 'charging sessions of vehicles, of the last MART_RETENTION_DAYS; ends is null while one goes on';

CREATE VIEW mart.alerts AS
SELECT id, rule, kind, device_kind, device_id, severity, state, since, opened_at, updated_at,
       resolved_at, acknowledged_at, acknowledged_by, value, worst_value, message
FROM alert;
COMMENT ON VIEW mart.alerts IS 'alerts that are open, and those that were resolved in the last ALERT_DAYS; value and worst_value are in the unit of the rule''s threshold';

CREATE VIEW mart.vehicles AS
SELECT vehicle_id, "timestamp" AS last_heartbeat_at, soc, battery_temp, depot_id AS depot,
       group_name AS "group", driver, label, latitude, longitude, time_zone, first_heard_at, retired_at
FROM vehicle_live_state
LEFT JOIN device ON stream = 'vehicle' AND device_id = vehicle_id COLLATE "C";
COMMENT ON VIEW mart.vehicles IS 'vehicles that were heard, with their newest heartbeat and what people say of them';

CREATE VIEW mart.chargers AS
SELECT meter_id, "timestamp" AS last_heartbeat_at, voltage, charger_class, depot_id AS depot,
       group_name AS "group", label, latitude, longitude, time_zone, first_heard_at, retired_at
FROM meter_live_state
LEFT JOIN device ON stream = 'meter' AND device_id = meter_id COLLATE "C";
COMMENT ON VIEW mart.chargers IS 'chargers by their meter, likewise';

CREATE VIEW mart.depots AS
SELECT id AS depot, name, tariff, time_zone, latitude, longitude FROM depot;
COMMENT ON VIEW mart.depots IS 'places where chargers stand and vehicles are at home';

-- A role is of the whole server: another database may have it already. Where this user may not make one,
-- an administrator makes it and grants it the two lines below.
DO $$
BEGIN
    CREATE ROLE wattlake_read NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the role wattlake_read was not made: this user may not create roles';
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'wattlake_read') THEN
        GRANT USAGE ON SCHEMA mart TO wattlake_read;
        GRANT SELECT ON ALL TABLES IN SCHEMA mart TO wattlake_read;
    END IF;
END $$;
