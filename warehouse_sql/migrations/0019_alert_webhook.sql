-- How far each webhook was told of alerts, and what it did not take.

CREATE TABLE alert_webhook (
    webhook         text PRIMARY KEY,
    told            bigint NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error      text
);

CREATE TABLE alert_dead_letter (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook    text NOT NULL,
    event_id   bigint NOT NULL REFERENCES alert_event ON DELETE CASCADE,
    attempts   integer NOT NULL,
    last_error text NOT NULL,
    died_at    timestamptz NOT NULL DEFAULT now(),
    is_wanted  boolean NOT NULL DEFAULT false
);
CREATE INDEX alert_dead_letter_by_event ON alert_dead_letter (event_id);

COMMENT ON TABLE alert_webhook IS 'how far each webhook was told; it is told in the order of the events';
COMMENT ON COLUMN alert_webhook.webhook IS 'host of the URL and a hash of all of it, which may be a secret';
COMMENT ON COLUMN alert_webhook.told IS 'id of the last event that it took, or that was given up';
COMMENT ON COLUMN alert_webhook.attempts IS 'failed attempts to tell the next event';
COMMENT ON TABLE alert_dead_letter IS 'events that a webhook did not take after the last attempt';
COMMENT ON COLUMN alert_dead_letter.is_wanted IS 'somebody asked to send it again';
