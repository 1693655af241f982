-- Who is sent which reports, and how far each was told of each report.

CREATE TABLE report_subscription (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    period     text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    depot_id   text COLLATE "C" REFERENCES depot (id) ON DELETE CASCADE,
    recipient  text NOT NULL,
    formats    text[] NOT NULL,
    hour_utc   smallint NOT NULL CHECK (hour_utc BETWEEN 0 AND 23),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text
);

CREATE TABLE report_delivery (
    subscription_id bigint NOT NULL REFERENCES report_subscription (id) ON DELETE CASCADE,
    report          text NOT NULL,
    version         integer NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error      text,
    settled_at      timestamptz,
    PRIMARY KEY (subscription_id, report)
);

COMMENT ON TABLE report_subscription IS 'who is sent the reports of a kind of period, from an hour of the day on';
COMMENT ON COLUMN report_subscription.depot_id IS 'the depot; null: the fleet';
COMMENT ON COLUMN report_subscription.recipient IS 'a mail address, or the URL of a webhook, which may be a secret';
COMMENT ON TABLE report_delivery IS 'how far a subscription was told of a report';
COMMENT ON COLUMN report_delivery.report IS 'its period: 2026-01-15, 2026-W03 or 2026-01';
COMMENT ON COLUMN report_delivery.version IS 'newest version that was delivered, or given up; 0: none';
COMMENT ON COLUMN report_delivery.attempts IS 'failed attempts to deliver the version after it';
