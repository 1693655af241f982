"""The table of battery health."""

from typing import Final

from lake.schema.table_spec import DATE, TableSpec, count_column, number_column, text_column

# Degrees Celsius. Lithium cells age faster when they are warm, makers seldom let them charge over
# 45 and cut off at 55 to 60; charging below 0 plates lithium onto the anode.
WARM: Final = 35
HOT: Final = 45
VERY_HOT: Final = 55
FREEZING: Final = 0
TEMPERATURE_LIMITS: Final = (WARM, HOT, VERY_HOT)
TEMPERATURE_PERCENTILES: Final = (5, 50, 95)

BATTERY_HEALTH_DAILY: Final = TableSpec(
    "battery_health_daily",
    "temperature, state of charge and energy of each vehicle's battery for each UTC day",
    ("date", "vehicle_id"),
    (
        DATE,
        text_column("vehicle_id", "id of the vehicle"),
        count_column("readings", "heartbeats of the vehicle"),
        number_column("temperature_min", "lowest battery temperature, degrees Celsius"),
        number_column("temperature_mean", "plain mean of the temperatures sent, degrees Celsius"),
        number_column("temperature_max", "highest battery temperature, degrees Celsius"),
        *(
            number_column(
                f"temperature_p{percent:02}",
                f"percentile {percent} of the temperatures sent, interpolated linearly between the "
                "two nearest by rank (Hyndman and Fan type 7), degrees Celsius",
            )
            for percent in TEMPERATURE_PERCENTILES
        ),
        number_column(
            "minutes_measured",
            "time that the readings with a temperature stand for: each for the time since the "
            "previous heartbeat, at most the largest gap, a first one for a nominal interval; "
            "minutes",
            nullable=False,
        ),
        *(
            number_column(
                f"minutes_above_{limit}",
                f"part of minutes_measured above {limit} degrees Celsius, minutes",
                nullable=False,
            )
            for limit in TEMPERATURE_LIMITS
        ),
        number_column(
            f"minutes_below_{FREEZING}",
            f"part of minutes_measured below {FREEZING} degrees Celsius, minutes",
            nullable=False,
        ),
        number_column("soc_min", "lowest state of charge, percent"),
        number_column("soc_max", "highest state of charge, percent"),
        number_column("soc_first", "first state of charge of the day, percent"),
        number_column("soc_last", "last state of charge of the day, percent"),
        number_column("soc_swing", "soc_max - soc_min, percent"),
        number_column(
            "soc_charged",
            "sum of the rises between consecutive states of charge, percent; the one before the "
            "day counts if it is no older than the largest gap; null: none was sent",
        ),
        number_column("soc_discharged", "sum of the falls, likewise, percent; not negative"),
        number_column(
            "energy_dc_kwh",
            "DC energy delivered to the battery, the sum of vehicle_efficiency_hourly, kWh; null: "
            "not known",
        ),
    ),
)
