-- What lets the lake writer notice that the database or the lake is not the one it delivered with.

CREATE TABLE outbox_delivery (
    stream     text PRIMARY KEY CHECK (stream IN ('meter', 'vehicle')),
    identity   text,
    epoch      uuid NOT NULL DEFAULT gen_random_uuid(),
    announced  bigint NOT NULL DEFAULT 0,
    lake_table text
);
INSERT INTO outbox_delivery (stream) VALUES ('meter'), ('vehicle');

COMMENT ON TABLE outbox_delivery IS 'how far each outbox may have been delivered, and to which table';
COMMENT ON COLUMN outbox_delivery.identity IS 'system, timeline and database whose transaction ids are announced';
COMMENT ON COLUMN outbox_delivery.epoch IS 'part of the Delta app id; a new one once the database has gone back in time';
COMMENT ON COLUMN outbox_delivery.announced IS 'flush horizon, committed before its append: the lake never is further, unless the database has gone back';
COMMENT ON COLUMN outbox_delivery.lake_table IS 'id of the raw Delta table that this outbox is delivered to';
