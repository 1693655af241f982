-- What people say of devices, and the depots where these belong. A device can be told of before its
-- first heartbeat.

CREATE TABLE depot (
    id         text COLLATE "C" PRIMARY KEY CHECK (id <> ''),
    name       text,
    time_zone  text,
    latitude   double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude  double precision CHECK (longitude BETWEEN -180 AND 180),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT whole_location CHECK ((latitude IS NULL) = (longitude IS NULL))
);

ALTER TABLE device
    ADD COLUMN depot_id text COLLATE "C" REFERENCES depot (id),
    ADD COLUMN group_name text COLLATE "C",
    ADD COLUMN driver text,
    ADD COLUMN label text,
    ADD COLUMN latitude double precision CHECK (latitude BETWEEN -90 AND 90),
    ADD COLUMN longitude double precision CHECK (longitude BETWEEN -180 AND 180),
    ADD COLUMN time_zone text,
    ADD COLUMN cadence_seconds double precision CHECK (cadence_seconds > 0),
    ADD COLUMN updated_at timestamptz,
    ADD CONSTRAINT whole_location CHECK ((latitude IS NULL) = (longitude IS NULL));

CREATE INDEX device_by_depot ON device (depot_id) WHERE depot_id IS NOT NULL;
CREATE INDEX device_by_group ON device (group_name) WHERE group_name IS NOT NULL;

COMMENT ON TABLE depot IS 'places where chargers stand and vehicles are at home';
COMMENT ON COLUMN depot.time_zone IS 'IANA name, as Europe/Berlin';
COMMENT ON COLUMN depot.latitude IS 'degrees north, WGS 84';
COMMENT ON COLUMN depot.longitude IS 'degrees east, WGS 84';
COMMENT ON COLUMN device.depot_id IS 'where the device belongs; null: nowhere';
COMMENT ON COLUMN device.group_name IS 'any group of devices that people name; null: none';
COMMENT ON COLUMN device.latitude IS 'degrees north, WGS 84';
COMMENT ON COLUMN device.longitude IS 'degrees east, WGS 84';
COMMENT ON COLUMN device.time_zone IS 'IANA name, as Europe/Berlin';
COMMENT ON COLUMN device.cadence_seconds IS 'how often the device sends, seconds, as people say; null: not said';
COMMENT ON COLUMN device.updated_at IS 'when people last said something of it; null: never';
