"""The table of grid health."""

from typing import Final

from lake.schema.table_spec import HOUR_START, TableSpec, count_column, number_column, text_column

VOLTAGE_PERCENTILES: Final = (1, 5, 50, 95, 99)

# In tenths of the nominal voltage, for 0.9 and 1.1 are no exact floats: 1.1 * 230 > 253.
LOWEST_TENTHS: Final = 9
HIGHEST_TENTHS: Final = 11

_SAMPLED: Final = (
    "a new one after a silence longer than the largest gap; counted in the hour where it begins. "
    "Of disturbances shorter than the time between two readings only those that one meets are seen"
)

GRID_HEALTH_HOURLY: Final = TableSpec(
    "grid_health_hourly",
    "voltage at each meter that sent one, for each UTC hour",
    ("meter_id", "hour_start"),
    (
        HOUR_START,
        text_column("meter_id", "id of the meter"),
        number_column(
            "nominal_voltage", "nominal voltage of the charger's class, volt", nullable=False
        ),
        count_column("readings", "heartbeats with a voltage"),
        number_column("voltage_min", "lowest voltage, volt", nullable=False),
        number_column("voltage_mean", "plain mean of the voltages, volt", nullable=False),
        number_column("voltage_max", "highest voltage, volt", nullable=False),
        *(
            number_column(
                f"voltage_p{percent:02}",
                f"percentile {percent} of the voltages, interpolated linearly between the two "
                "nearest by rank (Hyndman and Fan type 7), volt",
                nullable=False,
            )
            for percent in VOLTAGE_PERCENTILES
        ),
        number_column(
            "minutes_measured",
            "time that the readings with a voltage stand for: each for the time since the previous "
            "heartbeat, at most the largest gap, a first one for a nominal interval; minutes",
            nullable=False,
        ),
        number_column(
            "minutes_below",
            "part of minutes_measured under 90 % of nominal (EN 50160), minutes",
            nullable=False,
        ),
        number_column(
            "minutes_above",
            "part of minutes_measured over 110 % of nominal (EN 50160), minutes",
            nullable=False,
        ),
        count_column("sags", f"runs of consecutive voltages under 90 % of nominal; {_SAMPLED}"),
        count_column("swells", f"runs of consecutive voltages over 110 % of nominal; {_SAMPLED}"),
    ),
)
