-- The facts that ratios rest on, and that add up to any longer time.
--
-- What was computed before has none of them: nobody knows them. `wattlake verify --repair` has such hours
-- computed again.

ALTER TABLE vehicle_efficiency_hourly
    ADD COLUMN reason                       text,
    ADD COLUMN matched_energy_ac_kwh        double precision,
    ADD COLUMN unmatched_energy_ac_kwh      double precision,
    ADD COLUMN gross_energy_ac_kwh          double precision,
    ADD COLUMN gross_matched_energy_ac_kwh  double precision,
    ADD COLUMN unplaced_energy_ac_kwh       double precision,
    ADD COLUMN left_out_energy_ac_kwh       double precision,
    ADD COLUMN left_out_ac                  bigint,
    ADD COLUMN conflicts_ac                 bigint,
    ADD COLUMN conflicting_energy_ac_kwh    double precision,
    ADD COLUMN known_ac_seconds             double precision,
    ADD COLUMN first_ac                     timestamptz,
    ADD COLUMN last_ac                      timestamptz,
    ADD COLUMN inner_gap_ac_seconds         double precision,
    ADD COLUMN matched_energy_dc_kwh        double precision,
    ADD COLUMN unmatched_energy_dc_kwh      double precision,
    ADD COLUMN gross_energy_dc_kwh          double precision,
    ADD COLUMN gross_matched_energy_dc_kwh  double precision,
    ADD COLUMN unplaced_energy_dc_kwh       double precision,
    ADD COLUMN left_out_energy_dc_kwh       double precision,
    ADD COLUMN left_out_dc                  bigint,
    ADD COLUMN conflicts_dc                 bigint,
    ADD COLUMN conflicting_energy_dc_kwh    double precision,
    ADD COLUMN known_dc_seconds             double precision,
    ADD COLUMN first_dc                     timestamptz,
    ADD COLUMN last_dc                      timestamptz,
    ADD COLUMN inner_gap_dc_seconds         double precision,
    ADD COLUMN battery_temp_sum             double precision,
    ADD COLUMN battery_temp_count           bigint;
