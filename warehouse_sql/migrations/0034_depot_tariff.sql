-- What energy costs at a depot: the prices stand in the file of tariffs, under this name.

ALTER TABLE depot ADD COLUMN tariff text;

COMMENT ON COLUMN depot.tariff IS 'name of a tariff of TARIFF_FILE; null: the default one';
