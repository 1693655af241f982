-- Whether a device should be heard in an hour follows from the days before it. Its first heartbeat
-- ever would say so for all hours since: one clock that stood at 2020 would change every hour.

ALTER TABLE device ADD COLUMN expected tstzmultirange NOT NULL DEFAULT '{}';

-- On which days the devices of an older installation were heard is not known here. They stay expected
-- in every hour that there is, as they were when it was computed.
UPDATE device SET expected = tstzmultirange(tstzrange(
    date_trunc('hour', first_heard_at, 'UTC'),
    greatest(date_trunc('day', greatest(first_heard_at, live.newest_at), 'UTC')
             + interval '192 hours',
             (SELECT max(hour) + interval '1 hour' FROM partition_ledger))))
FROM (SELECT stream, device_id, newest_at
      FROM device AS known LEFT JOIN
           (SELECT 'meter', meter_id COLLATE "C", "timestamp" FROM meter_live_state
            UNION ALL
            SELECT 'vehicle', vehicle_id COLLATE "C", "timestamp" FROM vehicle_live_state)
               AS state (stream, device_id, newest_at) USING (stream, device_id)) AS live
WHERE device.stream = live.stream AND device.device_id = live.device_id
  AND first_heard_at IS NOT NULL;

COMMENT ON COLUMN device.expected IS 'when heartbeats of it are expected unless it is retired: from each hour in which it was heard to the end of the seventh UTC day after';
