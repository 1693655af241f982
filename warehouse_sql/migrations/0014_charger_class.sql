-- The class of the charger that fed the vehicle, whose limits its status has.

ALTER TABLE vehicle_efficiency_hourly ADD COLUMN charger_class text;
