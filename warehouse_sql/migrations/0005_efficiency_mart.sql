-- The hourly efficiency as it stands in the lake, for APIs and BI tools.

CREATE TABLE vehicle_efficiency_hourly (
    hour_start            timestamptz NOT NULL,
    vehicle_id            text NOT NULL,
    energy_ac_kwh         double precision,
    energy_dc_kwh         double precision,
    loss_kwh              double precision,
    efficiency_percent    double precision,
    status                text NOT NULL,
    data_points_meter     bigint NOT NULL,
    data_points_vehicle   bigint NOT NULL,
    coverage_ac           double precision NOT NULL,
    coverage_dc           double precision NOT NULL,
    matched_share_ac      double precision,
    matched_share_dc      double precision,
    longest_gap_seconds   double precision NOT NULL,
    resets                bigint NOT NULL,
    duplicates            bigint NOT NULL,
    average_battery_temp  double precision,
    link_source           text,
    meter_ids             text[] NOT NULL,
    PRIMARY KEY (hour_start, vehicle_id)
);
CREATE INDEX vehicle_efficiency_hourly_by_vehicle ON vehicle_efficiency_hourly (vehicle_id, hour_start);

CREATE TABLE fleet_efficiency_hourly (
    hour_start                 timestamptz PRIMARY KEY,
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
    vehicles_implausible       bigint NOT NULL
);

COMMENT ON TABLE vehicle_efficiency_hourly IS 'energy and efficiency of each vehicle and UTC hour; the same rows as the lake''s table';
COMMENT ON TABLE fleet_efficiency_hourly IS 'energy and efficiency of the fleet by UTC hour; the same rows as the lake''s table';
