-- Alerts: what rules found out about devices, and all that the watching must remember over a restart.

CREATE TABLE alert (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule            text NOT NULL,
    kind            text NOT NULL,
    device_kind     text NOT NULL CHECK (device_kind IN ('meter', 'vehicle')),
    device_id       text COLLATE "C" NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state           text NOT NULL GENERATED ALWAYS AS
                        (CASE WHEN resolved_at IS NULL THEN 'open' ELSE 'resolved' END) STORED,
    since           timestamptz NOT NULL,
    observed_at     timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    resolved_at     timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    silenced_until  timestamptz,
    value           double precision,
    worst_value     double precision,
    message         text NOT NULL
);
-- Two collectors that find the same open one alert.
CREATE UNIQUE INDEX alert_open ON alert (rule, device_kind, device_id) WHERE resolved_at IS NULL;
CREATE INDEX alert_by_device ON alert (device_kind, device_id, id);
CREATE INDEX alert_by_resolution ON alert (resolved_at) WHERE resolved_at IS NOT NULL;

-- Inserted only under one lock that is held to the commit (see `lock_alert_events`): ids become
-- visible in their order, so whoever has read up to one misses none below it.
CREATE TABLE alert_event (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES alert ON DELETE CASCADE,
    type     text NOT NULL CHECK (type IN ('opened', 'worsened', 'resolved', 'acknowledged',
                                           'silenced', 'unsilenced')),
    at       timestamptz NOT NULL DEFAULT now(),
    by       text,
    is_quiet boolean NOT NULL,
    alert    jsonb NOT NULL
);
CREATE INDEX alert_event_by_alert ON alert_event (alert_id, id);

-- A condition that does not hold for long enough yet.
CREATE TABLE alert_pending (
    rule        text NOT NULL,
    device_kind text NOT NULL CHECK (device_kind IN ('meter', 'vehicle')),
    device_id   text COLLATE "C" NOT NULL,
    since       timestamptz NOT NULL,
    observed_at timestamptz NOT NULL,
    value       double precision,
    worst_value double precision,
    PRIMARY KEY (rule, device_kind, device_id)
);

CREATE TABLE alert_silence (
    rule        text NOT NULL,
    device_kind text NOT NULL CHECK (device_kind IN ('meter', 'vehicle')),
    device_id   text COLLATE "C" NOT NULL,
    until       timestamptz NOT NULL,
    by          text,
    PRIMARY KEY (rule, device_kind, device_id)
);

-- Rewritten with every heartbeat of a charging vehicle, so heap-only as live state is.
CREATE TABLE alert_soc_peak (
    vehicle_id      text COLLATE "C" PRIMARY KEY,
    soc             double precision NOT NULL,
    at              timestamptz NOT NULL,
    meter_id        text NOT NULL,
    kwh_consumed_ac double precision NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE alert_progress (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    looked_at         timestamptz NOT NULL DEFAULT now(),
    watching_since    timestamptz NOT NULL DEFAULT now(),
    evaluated_marts   bigint NOT NULL DEFAULT 0,
    forgotten_event   bigint NOT NULL DEFAULT 0
);
INSERT INTO alert_progress DEFAULT VALUES;

CREATE TABLE mart_publication (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    publication bigint NOT NULL DEFAULT 0
);
INSERT INTO mart_publication DEFAULT VALUES;

COMMENT ON TABLE alert IS 'what a rule found at a device; at most one open alert of a rule and device';
COMMENT ON COLUMN alert.rule IS 'name of the rule';
COMMENT ON COLUMN alert.kind IS 'kind of the rule: it says what value is, and its unit';
COMMENT ON COLUMN alert.state IS 'open or resolved';
COMMENT ON COLUMN alert.since IS 'event time from which on the condition held';
COMMENT ON COLUMN alert.observed_at IS 'event time of the last observation: a heartbeat, or the end of an hour';
COMMENT ON COLUMN alert.updated_at IS 'when value, worst value or message last changed';
COMMENT ON COLUMN alert.silenced_until IS 'until then its events go to no webhook';
COMMENT ON COLUMN alert.worst_value IS 'of the values since then, the one furthest beyond the threshold';
COMMENT ON TABLE alert_event IS 'what happened to alerts, appended in the order of id';
COMMENT ON COLUMN alert_event.by IS 'name of the API key of whoever did it; null: the rule did';
COMMENT ON COLUMN alert_event.is_quiet IS 'the alert was silenced then: no webhook is told';
COMMENT ON COLUMN alert_event.alert IS 'the alert right after it, as the API shows it';
COMMENT ON TABLE alert_pending IS 'conditions that hold, for less than their rule wants';
COMMENT ON TABLE alert_silence IS 'rules that are silenced for a device, whatever alerts they open';
COMMENT ON TABLE alert_soc_peak IS 'highest state of charge of each vehicle since a meter delivers to it';
COMMENT ON COLUMN alert_soc_peak.kwh_consumed_ac IS 'what the meter sent then, kWh: interval or register';
COMMENT ON TABLE alert_progress IS 'how far the watching came';
COMMENT ON COLUMN alert_progress.looked_at IS 'when live state was last looked at';
COMMENT ON COLUMN alert_progress.watching_since IS 'since then without a pause: only this time counts as silence of a device';
COMMENT ON COLUMN alert_progress.evaluated_marts IS 'the publication of efficiency marts that was last evaluated';
COMMENT ON COLUMN alert_progress.forgotten_event IS 'id up to which events of resolved alerts may have been deleted';
COMMENT ON TABLE mart_publication IS 'counts the publications of efficiency marts';
