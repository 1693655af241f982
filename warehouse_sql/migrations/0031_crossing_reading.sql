-- Energy that crosses an edge of an hour is divided as the other side's was. Of a slow device that takes
-- readings of the other side from further on than others need: a late one changes the hour as well.

CREATE TABLE crossing_reading (
    hour_start  timestamptz NOT NULL CHECK (date_trunc('hour', hour_start, 'UTC') = hour_start),
    stream      text NOT NULL CHECK (stream IN ('meter', 'vehicle')),
    device_id   text COLLATE "C" NOT NULL,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL CHECK (since < until),
    PRIMARY KEY (hour_start, stream, device_id, since)
);
CREATE INDEX crossing_reading_time ON crossing_reading (stream, until);

COMMENT ON TABLE crossing_reading IS 'readings outside of an hour that it is computed with, beside those that each hour has; kept as long as the marts';
COMMENT ON COLUMN crossing_reading.since IS 'readings with an energy of the device from this event time on';
COMMENT ON COLUMN crossing_reading.until IS 'and before this one';
