-- What is known of a device apart from its heartbeats. Live state tells only how it is now; which
-- devices an hour could know, and how many of them should have been heard in it, hangs on when each
-- was first heard.

CREATE TABLE device (
    stream         text NOT NULL CHECK (stream IN ('meter', 'vehicle')),
    device_id      text COLLATE "C" NOT NULL,
    first_heard_at timestamptz CHECK (isfinite(first_heard_at)),
    charger_class  text CHECK (charger_class <> ''),
    retired_at     timestamptz CHECK (isfinite(retired_at)),
    PRIMARY KEY (stream, device_id),
    CONSTRAINT class_of_a_meter CHECK (charger_class IS NULL OR stream = 'meter')
);

-- When the devices of an older installation were first heard is not known here. They count as having
-- been there from the first hour of the lake on, so that no hour that was computed loses a pair.
INSERT INTO device (stream, device_id, first_heard_at)
SELECT live.stream, live.device_id, first.hour
FROM (SELECT 'meter' AS stream, meter_id AS device_id FROM meter_live_state
      UNION ALL
      SELECT 'vehicle', vehicle_id FROM vehicle_live_state) AS live,
     (SELECT min(hour) AS hour FROM partition_ledger) AS first
WHERE first.hour IS NOT NULL;

COMMENT ON TABLE device IS 'meters and vehicles: since when they are heard, and what people say of them';
COMMENT ON COLUMN device.stream IS 'meter or vehicle';
COMMENT ON COLUMN device.first_heard_at IS 'event time of the oldest heartbeat in the history; null: the history holds none yet. For devices from before this table the first hour of the lake, unless an older heartbeat came since';
COMMENT ON COLUMN device.charger_class IS 'class of the charger that the meter measures, a name of the setting CHARGER_CLASSES; null: as all others. It counts for the whole past of the meter';
COMMENT ON COLUMN device.retired_at IS 'from then on no heartbeat is expected; null: in service';
