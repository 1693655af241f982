-- Records that were refused, for the operator. Bounded by age, in all and for each origin, so that
-- neither a broken device nor invented ids can fill the disk or push the others out.

CREATE TABLE rejection (
    id          uuid NOT NULL,
    received_at timestamptz NOT NULL,
    stream      text,
    device      text,
    field       text,
    code        text NOT NULL,
    reason      text NOT NULL,
    record      text NOT NULL,
    sender      text NOT NULL,
    request_id  text,
    origin      text NOT NULL GENERATED ALWAYS AS (coalesce('device ' || device, 'sender ' || sender)) STORED,
    PRIMARY KEY (received_at, id)
);
-- The listing is in the order of the primary key; each filter has the same order below it.
CREATE INDEX rejection_by_origin ON rejection (origin, received_at, id);
CREATE INDEX rejection_by_stream ON rejection (stream, received_at, id);
CREATE INDEX rejection_by_code ON rejection (code, received_at, id);

COMMENT ON TABLE rejection IS 'refused records, the newest of each origin; texts are printable ASCII, cut to a bound';
COMMENT ON COLUMN rejection.id IS 'made by the collector, so that a repeated write stores it once';
COMMENT ON COLUMN rejection.received_at IS 'when a collector refused it';
COMMENT ON COLUMN rejection.stream IS 'meter or vehicle; null where that could not be told';
COMMENT ON COLUMN rejection.device IS 'id as sent; null if none was given';
COMMENT ON COLUMN rejection.field IS 'the field at fault; null for the whole record';
COMMENT ON COLUMN rejection.code IS 'kind of fault, one of few';
COMMENT ON COLUMN rejection.reason IS 'what the answer said';
COMMENT ON COLUMN rejection.record IS 'the record as JSON text';
COMMENT ON COLUMN rejection.sender IS 'name of the API key, or the address of the client';
COMMENT ON COLUMN rejection.origin IS 'whose newest rejections are kept: the device, or the sender where no id was given';
