-- Pairs of meter and vehicle that the rule of the trailing number has made. A pair is made when the
-- second of the two is first heard, and then it stands: a third device of the same number, however
-- old what it sends, changes no hour. In which hours a pair counts follows from when both were heard
-- and from what links them otherwise, never from when it was made: so it holds for imported history.

CREATE TABLE number_pair (
    meter_id     text NOT NULL,
    vehicle_id   text NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now(),
    valid        tstzrange NOT NULL DEFAULT '(,)' CHECK (NOT isempty(valid)),
    dissolved_at timestamptz,
    CONSTRAINT one_pair_of_a_meter EXCLUDE USING gist (meter_id WITH =, valid WITH &&)
        WHERE (dissolved_at IS NULL),
    CONSTRAINT one_pair_of_a_vehicle EXCLUDE USING gist (vehicle_id WITH =, valid WITH &&)
        WHERE (dissolved_at IS NULL)
);

CREATE INDEX number_pair_by_meter ON number_pair (meter_id);
CREATE INDEX number_pair_by_vehicle ON number_pair (vehicle_id);

CREATE TABLE unpaired_device (
    stream    text NOT NULL CHECK (stream IN ('meter', 'vehicle')),
    device_id text NOT NULL,
    noted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, device_id)
);

COMMENT ON TABLE number_pair IS 'pairs of meter and vehicle by the rule of the trailing number, each made once';
COMMENT ON COLUMN number_pair.made_at IS 'when the second of the two was first heard; no hour depends on it';
COMMENT ON COLUMN number_pair.valid IS 'hours in which the pair may count: up to the removal of one of the two, and after that of an earlier partner';
COMMENT ON COLUMN number_pair.dissolved_at IS 'when somebody said that the guess is wrong: it counts in no hour, and is never made again';
COMMENT ON TABLE unpaired_device IS 'devices that the rule pairs with nobody, because their number was taken or several had it at once';

-- What has linked a device but for the rule, since when, and up to when it counts (null: for good).
CREATE VIEW linked_device AS
SELECT 'meter' AS stream, meter_id AS device_id, lower(valid) AS since, NULL::timestamptz AS removed_at
FROM charging_link
UNION ALL
SELECT 'vehicle', vehicle_id, lower(valid), NULL FROM charging_link
UNION ALL
SELECT 'meter', meter_id, first_named_at, removed_at FROM named_link
UNION ALL
SELECT 'vehicle', vehicle_id, first_named_at, removed_at FROM named_link;

-- Pairs that are links now, and devices that are told to the operator: nothing else has linked them.
CREATE VIEW guessed_pair AS
SELECT meter_id, vehicle_id, made_at FROM number_pair
WHERE dissolved_at IS NULL AND upper_inf(valid)
  AND NOT EXISTS (SELECT FROM linked_device AS linked
                  WHERE stream = 'meter' AND device_id = meter_id AND since <= now()
                    AND removed_at IS NULL)
  AND NOT EXISTS (SELECT FROM linked_device AS linked
                  WHERE stream = 'vehicle' AND device_id = vehicle_id AND since <= now()
                    AND removed_at IS NULL);

CREATE VIEW unlinked_device AS
SELECT stream, device_id, noted_at FROM unpaired_device
WHERE NOT EXISTS (SELECT FROM linked_device AS linked
                  WHERE linked.stream = unpaired_device.stream
                    AND linked.device_id = unpaired_device.device_id AND since <= now()
                    AND removed_at IS NULL);

-- The number at the end of an id, without leading zeros; the expression of the indexes by it.
CREATE FUNCTION trailing_number(device_id text) RETURNS text IMMUTABLE LANGUAGE sql
RETURN ltrim(substring(device_id FROM '[0-9]+$'), '0');

-- Letters, at most one separator, digits. A VIN and most serials have digits before their last number,
-- which then is no number that somebody gave a charging place.
CREATE FUNCTION may_pair(device_id text) RETURNS boolean IMMUTABLE LANGUAGE sql
RETURN device_id ~ '^[A-Za-z]+[^A-Za-z0-9]?[0-9]+$';

-- Meters and vehicles that are known and end in a number, each with each. Not where a key that is
-- limited to a prefix may write one of the two alone: then they belong to different people.
CREATE FUNCTION partners_of_number(wanted text)
RETURNS TABLE (meter_id text, vehicle_id text) STABLE LANGUAGE plpgsql AS $$
BEGIN
    -- A cached plan: a fleet that is new comes with thousands in one commit.
    RETURN QUERY WITH known AS (
        SELECT 'meter' AS stream, live.meter_id AS device_id FROM meter_live_state AS live
        WHERE ltrim(substring(live.meter_id FROM '[0-9]+$'), '0') = wanted
        UNION
        SELECT 'vehicle', live.vehicle_id FROM vehicle_live_state AS live
        WHERE ltrim(substring(live.vehicle_id FROM '[0-9]+$'), '0') = wanted
        UNION
        SELECT stream, device_id COLLATE "default" FROM device
        WHERE first_heard_at IS NOT NULL AND removed_at IS NULL
          AND ltrim(substring(device_id FROM '[0-9]+$'), '0') = wanted
    )
    SELECT meter.device_id, vehicle.device_id
    FROM known AS meter, known AS vehicle
    WHERE meter.stream = 'meter' AND may_pair(meter.device_id)
      AND vehicle.stream = 'vehicle' AND may_pair(vehicle.device_id)
      AND NOT EXISTS (SELECT FROM api_key
                      WHERE revoked_at IS NULL
                        AND starts_with(meter.device_id, device_prefix)
                            <> starts_with(vehicle.device_id, device_prefix));
END
$$;

-- Makes the pair of a number if exactly one meter and one vehicle have it and neither has a pair.
-- It counts from `since` on (null: in all hours). Which of the others pair with nobody is noted. One at a time, and as the last step of a transaction:
-- two that bring the two halves of a pair would else not see each other.
CREATE FUNCTION pair_number(wanted text, since timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    meters text[];
    vehicles text[];
BEGIN
    LOCK TABLE number_pair IN SHARE ROW EXCLUSIVE MODE;
    SELECT array_agg(meter_id), array_agg(vehicle_id) INTO meters, vehicles
    FROM partners_of_number(wanted);
    IF meters IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO number_pair (meter_id, vehicle_id, valid)
    SELECT found.meter_id, found.vehicle_id,
           tstzrange(greatest(since, max(upper(earlier.valid))), NULL)
    FROM (SELECT partner.meter_id, partner.vehicle_id,
                 count(*) OVER (PARTITION BY partner.meter_id) AS of_meter,
                 count(*) OVER (PARTITION BY partner.vehicle_id) AS of_vehicle
          FROM unnest(meters, vehicles) AS partner (meter_id, vehicle_id)) AS found
    LEFT JOIN LATERAL (
        SELECT * FROM number_pair AS pair WHERE pair.meter_id = found.meter_id
        UNION ALL
        SELECT * FROM number_pair AS pair WHERE pair.vehicle_id = found.vehicle_id) AS earlier ON true
    WHERE of_meter = 1 AND of_vehicle = 1
    GROUP BY found.meter_id, found.vehicle_id
    HAVING NOT coalesce(bool_or(
        CASE WHEN dissolved_at IS NULL THEN upper_inf(earlier.valid)
             ELSE (earlier.meter_id, earlier.vehicle_id) = (found.meter_id, found.vehicle_id)
        END), false);

    IF FOUND THEN
        DELETE FROM unpaired_device AS unpaired
        USING number_pair AS pair
        WHERE pair.meter_id = ANY(meters) AND pair.vehicle_id = ANY(vehicles)
          AND dissolved_at IS NULL AND upper_inf(valid)
          AND (stream, device_id) IN (('meter', pair.meter_id), ('vehicle', pair.vehicle_id));
        IF cardinality(meters) = 1 THEN
            RETURN;
        END IF;
    END IF;

    INSERT INTO unpaired_device (stream, device_id)
    SELECT DISTINCT stream, device_id
    FROM unnest(array_fill('meter'::text, ARRAY[cardinality(meters)])
                || array_fill('vehicle'::text, ARRAY[cardinality(meters)]),
                meters || vehicles) AS one (stream, device_id)
    WHERE NOT EXISTS (SELECT FROM number_pair AS pair
                      WHERE stream = 'meter' AND pair.meter_id = device_id
                        AND (dissolved_at IS NOT NULL OR upper_inf(valid)))
      AND NOT EXISTS (SELECT FROM number_pair AS pair
                      WHERE stream = 'vehicle' AND pair.vehicle_id = device_id
                        AND (dissolved_at IS NOT NULL OR upper_inf(valid)))
    ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION pair_newcomer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pair_number(trailing_number(to_jsonb(NEW) ->> TG_ARGV[0]));
    RETURN NULL;
END
$$;

-- An installation from before this table: of the devices that have been heard in the last days those
-- that the rule pairs now, then what it pairs among all.
INSERT INTO number_pair (meter_id, vehicle_id)
SELECT meter_id, vehicle_id
FROM (SELECT partner.*,
             count(*) OVER (PARTITION BY meter_id) AS vehicles,
             count(*) OVER (PARTITION BY vehicle_id) AS meters
      FROM (SELECT DISTINCT trailing_number(device_id) AS number FROM device
            WHERE expected @> now() AND may_pair(device_id)) AS recent,
           LATERAL partners_of_number(recent.number) AS partner,
           device AS meter, device AS vehicle
      WHERE meter.stream = 'meter' AND meter.device_id = partner.meter_id COLLATE "C"
        AND meter.expected @> now()
        AND vehicle.stream = 'vehicle' AND vehicle.device_id = partner.vehicle_id COLLATE "C"
        AND vehicle.expected @> now()) AS found
WHERE vehicles = 1 AND meters = 1;

SELECT pair_number(number)
FROM (SELECT trailing_number(device_id) AS number FROM device WHERE may_pair(device_id)
      UNION
      SELECT trailing_number(meter_id) FROM meter_live_state WHERE may_pair(meter_id)) AS known;

-- Hours in which the rule says something else now than when they were computed: those in which a meter
-- and a vehicle of one number were both expected, but for numbers that only the two of a pair have.
UPDATE partition_ledger SET revision = revision + 1
WHERE hour <@ (
    SELECT range_agg(possible.hours)
    FROM (SELECT meter.expected * vehicle.expected AS hours
          FROM device AS meter JOIN device AS vehicle
              ON ltrim(substring(vehicle.device_id FROM '[0-9]+$'), '0')
                 = ltrim(substring(meter.device_id FROM '[0-9]+$'), '0')
          WHERE meter.stream = 'meter' AND vehicle.stream = 'vehicle'
            AND NOT EXISTS (SELECT FROM number_pair AS pair
                            WHERE pair.meter_id = meter.device_id COLLATE "default"
                              AND pair.vehicle_id = vehicle.device_id COLLATE "default"
                              AND (SELECT count(*) FROM device AS one
                                   WHERE ltrim(substring(one.device_id FROM '[0-9]+$'), '0')
                                         = trailing_number(pair.meter_id)) = 2)) AS possible
);

CREATE CONSTRAINT TRIGGER pair_newcomer AFTER INSERT ON meter_live_state
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (may_pair(NEW.meter_id))
    EXECUTE FUNCTION pair_newcomer('meter_id');
CREATE CONSTRAINT TRIGGER pair_newcomer AFTER INSERT ON vehicle_live_state
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (may_pair(NEW.vehicle_id))
    EXECUTE FUNCTION pair_newcomer('vehicle_id');
-- History that came past the collectors, as from another lake.
CREATE CONSTRAINT TRIGGER pair_newcomer AFTER INSERT ON device
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.first_heard_at IS NOT NULL AND may_pair(NEW.device_id))
    EXECUTE FUNCTION pair_newcomer('device_id');
CREATE CONSTRAINT TRIGGER pair_newcomer_of_registry AFTER UPDATE ON device
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.first_heard_at IS NULL AND NEW.first_heard_at IS NOT NULL
          AND may_pair(NEW.device_id))
    EXECUTE FUNCTION pair_newcomer('device_id');
