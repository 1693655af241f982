-- The charging sessions as they stand in the lake, for lists, APIs and BI tools. Their ids are the lake's.

CREATE TABLE charging_session (
    session_id             text PRIMARY KEY,
    vehicle_id             text COLLATE "C" NOT NULL,
    meter_ids              text[] NOT NULL,
    begins                 timestamptz NOT NULL,
    ends                   timestamptz,
    last_energy_at         timestamptz NOT NULL,
    plugged_from           timestamptz,
    plugged_to             timestamptz,
    duration_seconds       double precision NOT NULL,
    charging_seconds       double precision NOT NULL,
    plugged_seconds        double precision,
    energy_ac_kwh          double precision,
    energy_dc_kwh          double precision,
    matched_energy_ac_kwh  double precision NOT NULL,
    matched_energy_dc_kwh  double precision NOT NULL,
    loss_kwh               double precision,
    efficiency_percent     double precision,
    status                 text NOT NULL,
    reason                 text NOT NULL,
    soc_from               double precision,
    soc_to                 double precision,
    mean_power_ac_kw       double precision,
    mean_power_dc_kw       double precision,
    peak_power_ac_kw       double precision,
    peak_power_dc_kw       double precision,
    battery_temp_min       double precision,
    average_battery_temp   double precision,
    battery_temp_max       double precision,
    energy_ac_by_hour_kwh  double precision[] NOT NULL,
    evidence               text NOT NULL,
    link_source            text,
    charger_class          text,
    data_points_meter      bigint NOT NULL,
    data_points_vehicle    bigint NOT NULL,
    coverage_ac            double precision NOT NULL,
    coverage_dc            double precision NOT NULL,
    longest_gap_seconds    double precision NOT NULL,
    supersedes             text[] NOT NULL
);
CREATE INDEX charging_session_by_begin ON charging_session (begins DESC, session_id DESC);
CREATE INDEX charging_session_by_vehicle ON charging_session (vehicle_id, begins DESC);
CREATE INDEX charging_session_by_meter ON charging_session USING gin (meter_ids);
CREATE INDEX charging_session_superseded ON charging_session USING gin (supersedes);
CREATE INDEX charging_session_going_on ON charging_session (begins DESC) WHERE ends IS NULL;

COMMENT ON TABLE charging_session IS 'charging sessions of vehicles; the same rows as the lake''s table';
COMMENT ON COLUMN charging_session.supersedes IS 'ids of sessions that turned out to be parts of this one';
