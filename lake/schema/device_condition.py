"""Tables of the condition of devices by day: trends, anomalies, and whom to visit."""

from typing import Final

import pyarrow as pa

from lake.schema.streams import TIMESTAMP, Column
from lake.schema.table_spec import DATE, TableSpec, count_column, number_column, text_column

_KEY: Final = ("date", "device_kind", "device_id")
_DEVICE: Final = (
    DATE,
    text_column("device_kind", "meter or vehicle"),
    text_column("device_id", "id of the meter or the vehicle"),
)
_UNTIL_LIMIT: Final = (
    number_column(
        "days_to_limit",
        "time until the level of the last four weeks is below the limit by the slope; 0: it is; "
        "null: never by that slope, days",
    ),
    number_column("days_to_limit_low", "lower end of its interval of 95 %, days"),
    number_column("days_to_limit_high", "upper end of its interval of 95 %; null: never, days"),
)

EFFICIENCY_TREND: Final = TableSpec(
    "efficiency_trend",
    "how the efficiency of each charger and vehicle went in the 52 weeks up to the end of each UTC "
    "day, less what is expected of power, temperature and the other side",
    _KEY,
    (
        *_DEVICE,
        count_column(
            "weeks", "weeks with sessions that count, of the 52 before the end of the day"
        ),
        count_column("sessions", "sessions that count in these weeks"),
        number_column("usual_percent", "level before the change, percent"),
        number_column("level_percent", "level of the last four weeks, percent"),
        number_column("level_error", "its standard error, percent"),
        text_column(
            "course",
            "the change that explains most of the levels: drift (bit by bit from a week on) or "
            "step (all at once)",
        ),
        count_column("change_week", "week from which on it changed; -1 is the newest"),
        number_column("change_percent", "what has changed since then; negative: a fall, percent"),
        number_column("change_error", "its standard error, percent"),
        number_column("z", "change_percent in standard errors"),
        number_column(
            "slope_percent_a_month", "slope from that week on (Theil and Sen), percent a month"
        ),
        number_column("slope_low", "lower end of its interval of 95 %, percent a month"),
        number_column("slope_high", "upper end of its interval of 95 %, percent a month"),
        number_column(
            "efficiency_percent",
            "usual expected efficiency of it at the level of the last four weeks, percent",
        ),
        *_UNTIL_LIMIT,
        Column(
            "weekly_level_percent",
            pa.list_(pa.float64()),
            "100 ln(efficiency / expected) of each of the 52 weeks, the oldest first; null: no "
            "session that counts; percent",
            nullable=False,
        ),
    ),
)

_ANOMALY: Final = (
    *_DEVICE,
    text_column("kind", "what is wrong; the kinds are in docs/condition.md"),
    Column("since", TIMESTAMP, "since about when it is so, UTC", nullable=False),
    number_column("confidence", "how sure it is, 0-1", nullable=False),
    number_column(
        "size_percent",
        "100 ln(what should arrive / what does): about the part that is lost; null where nothing "
        "is lost for sure, percent",
    ),
    number_column(
        "size",
        "of faults of what measures: the factor of a wrong unit, the part of the energy that a "
        "register loses or that flowed at other times, the part of the power that is left",
    ),
    number_column("slope_percent_a_month", "slope since then, percent a month"),
    *_UNTIL_LIMIT,
    text_column(
        "may_be_kind", "kind of partner_id, where that may as well be the one at fault", True
    ),
    text_column(
        "partner_id",
        "the device that may as well be at fault, or the meter that fits instead; null: none",
        nullable=True,
    ),
    count_column("sessions", "sessions that have shown it"),
    Column("others", pa.int64(), "devices of the other kind that it was compared with"),
    number_column("median_temperature", "of the batteries in these sessions, degrees Celsius"),
    number_column("median_power_kw", "of the mean AC power of these sessions, kW"),
    number_column("mean_coverage", "of the side that is less known in these sessions, 0-1"),
    number_column("share_linked_by_rule", "part of these sessions whose link is a guess, 0-1"),
    number_column("energy_ac_kwh_a_year", "AC energy of a year of such use, kWh a year"),
    number_column(
        "at_stake_kwh_a_year", "of it what is lost, or measured wrongly, kWh a year", nullable=False
    ),
    number_column(
        "mending_saves_kwh_a_year", "of it what is lost: so much mending saves, kWh a year", False
    ),
    text_column("reason", "what was found and how it shows, in words"),
)

DEVICE_ANOMALY: Final = TableSpec(
    "device_anomaly",
    "chargers and vehicles that lose more than they should, or measure wrongly, as known at the "
    "end of each UTC day; at most one row a device",
    _KEY,
    _ANOMALY,
)

MAINTENANCE_VISIT: Final = TableSpec(
    "maintenance_visit",
    "the list of whom to visit at the end of each UTC day: one row a device, open, waiting until "
    "it is sure, or closed, with the anomaly as it was last seen",
    _KEY,
    (
        *_ANOMALY,
        text_column("state", "waiting (seen, not yet for a week), open (to visit) or closed"),
        Column("first_seen", TIMESTAMP, "end of the first day on which it was seen, UTC", False),
        Column("last_seen", TIMESTAMP, "end of the last day on which it was seen, UTC", False),
        Column("opened_at", TIMESTAMP, "end of the day on which it opened, UTC; null: never yet"),
        Column("closed_at", TIMESTAMP, "when it was closed, UTC; null: it is not"),
        text_column(
            "closed_by", "name of the API key that closed it; null: nobody, or by itself", True
        ),
        text_column("closed_reason", "why it was closed", nullable=True),
        number_column(
            "at_stake_a_year",
            "at_stake_kwh_a_year at the mean price of the day's tariff, in the currency a year; "
            "null: no price is known",
        ),
        number_column(
            "mending_saves_a_year", "mending_saves_kwh_a_year likewise, in the currency a year"
        ),
        text_column("currency", "of these, ISO 4217; null: no price is known", nullable=True),
    ),
)
