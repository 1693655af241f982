-- The list of whom to visit, as the lake's newest day has it, and what people decide of it. The list of
-- a day follows from that of the day before and from what was decided until its end.

CREATE TABLE maintenance_visit (
    "date"                   date NOT NULL,
    device_kind              text NOT NULL,
    device_id                text COLLATE "C" NOT NULL,
    kind                     text NOT NULL,
    since                    timestamptz NOT NULL,
    confidence               double precision NOT NULL,
    size_percent             double precision,
    size                     double precision,
    slope_percent_a_month    double precision,
    days_to_limit            double precision,
    days_to_limit_low        double precision,
    days_to_limit_high       double precision,
    may_be_kind              text,
    partner_id               text,
    sessions                 bigint NOT NULL,
    others                   bigint,
    median_temperature       double precision,
    median_power_kw          double precision,
    mean_coverage            double precision,
    share_linked_by_rule     double precision,
    energy_ac_kwh_a_year     double precision,
    at_stake_kwh_a_year      double precision NOT NULL,
    mending_saves_kwh_a_year double precision NOT NULL,
    reason                   text NOT NULL,
    state                    text NOT NULL CHECK (state IN ('waiting', 'open', 'closed')),
    first_seen               timestamptz NOT NULL,
    last_seen                timestamptz NOT NULL,
    opened_at                timestamptz,
    closed_at                timestamptz,
    closed_by                text,
    closed_reason            text,
    at_stake_a_year          double precision,
    mending_saves_a_year     double precision,
    currency                 text,
    PRIMARY KEY (device_kind, device_id)
);
COMMENT ON TABLE maintenance_visit IS 'whom to visit; the same rows as the lake''s table of its newest day';

CREATE TABLE maintenance_decision (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_kind text NOT NULL CHECK (device_kind IN ('meter', 'vehicle')),
    device_id   text COLLATE "C" NOT NULL,
    decided_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_by  text NOT NULL,
    closes      boolean NOT NULL,
    reason      text NOT NULL
);
CREATE INDEX maintenance_decision_of_device ON maintenance_decision (device_kind, device_id, decided_at DESC, id DESC);
CREATE INDEX maintenance_decision_by_time ON maintenance_decision (decided_at);
COMMENT ON TABLE maintenance_decision IS 'visits that people have closed (closes), or opened again';

CREATE TABLE condition_day (
    day              date PRIMARY KEY,
    computed_at      timestamptz NOT NULL,
    sessions         bigint NOT NULL,
    first_session_at timestamptz
);
COMMENT ON TABLE condition_day IS 'UTC days whose condition of devices was computed: when its run began, from how many sessions, and since when there are any';

CREATE VIEW mart.maintenance AS
SELECT visit."date", visit.device_kind, visit.device_id, depot_id AS depot, group_name AS "group",
       visit.kind, since, confidence, size_percent, size, slope_percent_a_month, days_to_limit,
       days_to_limit_low, days_to_limit_high, may_be_kind, partner_id, sessions, others,
       median_temperature, median_power_kw, mean_coverage, share_linked_by_rule,
       energy_ac_kwh_a_year, at_stake_kwh_a_year, mending_saves_kwh_a_year, visit.reason,
       CASE WHEN is_closed THEN 'closed'
            WHEN is_reopened THEN CASE WHEN opened_at IS NULL THEN 'waiting' ELSE 'open' END
            ELSE state END AS state,
       first_seen, last_seen, opened_at,
       CASE WHEN is_closed THEN decided_at WHEN NOT is_reopened THEN closed_at END AS closed_at,
       CASE WHEN is_closed THEN decided_by WHEN NOT is_reopened THEN closed_by END AS closed_by,
       CASE WHEN is_closed THEN decision.reason WHEN NOT is_reopened THEN closed_reason END AS closed_reason,
       at_stake_a_year, mending_saves_a_year, currency
FROM maintenance_visit AS visit
LEFT JOIN device ON stream = visit.device_kind AND device.device_id = visit.device_id COLLATE "C"
LEFT JOIN LATERAL (
    SELECT closes, decided_at, decided_by, reason FROM maintenance_decision
    WHERE device_kind = visit.device_kind AND device_id = visit.device_id
      -- older ones are in the list
      AND decided_at >= ("date" + 1)::timestamp AT TIME ZONE 'UTC'
    ORDER BY maintenance_decision.decided_at DESC, id DESC LIMIT 1
) AS decision ON true
CROSS JOIN LATERAL (
    SELECT coalesce(closes AND (state <> 'closed' OR closed_by IS NOT NULL), false) AS is_closed,
           coalesce(NOT closes AND state = 'closed' AND closed_by IS NOT NULL, false) AS is_reopened
) AS now;
COMMENT ON VIEW mart.maintenance IS 'chargers and vehicles to visit (state open), those that are not sure yet (waiting) and closed ones, as of the end of date and of what people have closed since; at_stake_a_year in the currency beside it';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'wattlake_read') THEN
        GRANT SELECT ON mart.maintenance TO wattlake_read;
    END IF;
END $$;
