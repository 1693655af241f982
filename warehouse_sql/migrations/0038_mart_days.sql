-- Days beside the hours of the schema `mart`: the rows of the lake's daily tables, with their costs. Days
-- that were computed before follow as they are computed again; facts that a row lacks are those of an
-- older version, and null as in the lake.

CREATE TABLE vehicle_efficiency_daily (
    date                        date NOT NULL,
    vehicle_id                  text NOT NULL,
    energy_ac_kwh               double precision,
    energy_dc_kwh               double precision,
    loss_kwh                    double precision,
    efficiency_percent          double precision,
    status                      text NOT NULL,
    reason                      text,
    charger_class               text,
    data_points_meter           bigint NOT NULL,
    data_points_vehicle         bigint NOT NULL,
    coverage_ac                 double precision NOT NULL,
    coverage_dc                 double precision NOT NULL,
    matched_share_ac            double precision,
    matched_share_dc            double precision,
    longest_gap_seconds         double precision NOT NULL,
    resets                      bigint NOT NULL,
    duplicates                  bigint NOT NULL,
    average_battery_temp        double precision,
    link_source                 text,
    meter_ids                   text[] NOT NULL,
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
    battery_temp_sum            double precision,
    battery_temp_count          bigint,
    hours                       bigint NOT NULL,
    cost_of_energy              numeric(38, 17),
    cost_of_losses              numeric(38, 17),
    currency                    text,
    PRIMARY KEY (date, vehicle_id)
);
CREATE INDEX vehicle_efficiency_daily_by_vehicle ON vehicle_efficiency_daily (vehicle_id, date);

CREATE TABLE charger_efficiency_daily (
    date                        date NOT NULL,
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
    hours                       bigint NOT NULL,
    cost_of_energy              numeric(38, 17),
    cost_of_losses              numeric(38, 17),
    currency                    text,
    PRIMARY KEY (date, meter_id)
);
CREATE INDEX charger_efficiency_daily_by_meter ON charger_efficiency_daily (meter_id, date);

CREATE TABLE fleet_efficiency_daily (
    date                       date NOT NULL,
    energy_ac_kwh              double precision NOT NULL,
    energy_dc_kwh              double precision NOT NULL,
    rated_energy_ac_kwh        double precision NOT NULL,
    rated_energy_dc_kwh        double precision NOT NULL,
    loss_kwh                   double precision NOT NULL,
    efficiency_percent         double precision,
    unlinked_energy_ac_kwh     double precision NOT NULL,
    vehicles                   bigint NOT NULL,
    vehicles_excellent         bigint NOT NULL,
    vehicles_good              bigint NOT NULL,
    vehicles_warning           bigint NOT NULL,
    vehicles_critical          bigint NOT NULL,
    vehicles_idle              bigint NOT NULL,
    vehicles_insufficient_data bigint NOT NULL,
    vehicles_unmapped          bigint NOT NULL,
    vehicles_implausible       bigint NOT NULL,
    hours                      bigint NOT NULL,
    cost_of_energy             numeric(38, 17),
    cost_of_losses             numeric(38, 17),
    currency                   text,
    PRIMARY KEY (date)
);

COMMENT ON TABLE vehicle_efficiency_daily IS 'energy, efficiency and costs of each vehicle and UTC day; the same rows as the lake''s table';
COMMENT ON TABLE charger_efficiency_daily IS 'energy, efficiency and costs of each meter and UTC day; the same rows as the lake''s table';
COMMENT ON TABLE fleet_efficiency_daily IS 'energy, efficiency and costs of the fleet by UTC day; the same rows as the lake''s table';

CREATE VIEW mart.vehicle_days AS SELECT * FROM vehicle_efficiency_daily;
COMMENT ON VIEW mart.vehicle_days IS 'energy, efficiency, its evidence and costs of each vehicle and UTC day, of the last MART_RETENTION_DAYS; today as far as its hours are computed. Add money up by currency; of a longer time add up the matched energies and divide at the end';

CREATE VIEW mart.charger_days AS SELECT * FROM charger_efficiency_daily;
COMMENT ON VIEW mart.charger_days IS 'the same of each meter, whoever charged there; energy_ac_kwh includes unlinked_energy_ac_kwh, and so does its cost';

CREATE VIEW mart.fleet_days AS SELECT * FROM fleet_efficiency_daily;
COMMENT ON VIEW mart.fleet_days IS 'energy, efficiency and costs of the fleet by UTC day, and its vehicles by status; no costs where there are several currencies';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'wattlake_read') THEN
        GRANT SELECT ON mart.vehicle_days, mart.charger_days, mart.fleet_days TO wattlake_read;
    END IF;
END $$;

-- The days of the last weeks are published once by being computed again, which changes none of them; a
-- longer MART_RETENTION_DAYS is filled by `wattlake verify --repair`.
INSERT INTO repriced_day (day)
SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date FROM partition_ledger
WHERE computed_version IS NOT NULL AND hour BETWEEN now() - interval '36 days' AND now()
ON CONFLICT DO NOTHING;
