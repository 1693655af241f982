"""The table of what charging sessions have lost beyond what is expected of them."""

from typing import Final

from lake.schema.streams import TIMESTAMP, Column
from lake.schema.table_spec import TableSpec, number_column, text_column

SESSION_EXCESS_LOSS: Final = TableSpec(
    "session_excess_loss",
    "what each charging session should have reached and what it lost beyond that, by the UTC day "
    "of its end; sessions that count alone",
    ("vehicle_id", "ends"),
    (
        text_column("session_id", "id of the session in charging_session"),
        text_column("vehicle_id", "id of the vehicle"),
        text_column("meter_id", "id of the meter that fed it"),
        Column(
            "ends",
            TIMESTAMP,
            "when the session was over: energy ceased to flow, or its explicit link ended, UTC",
            nullable=False,
        ),
        number_column(
            "matched_energy_ac_kwh",
            "AC energy that flowed while the DC energy was known, kWh",
            False,
        ),
        number_column("loss_kwh", "what of it did not arrive, kWh", nullable=False),
        number_column("efficiency_percent", "the efficiency that was reached, percent", False),
        number_column(
            "expected_efficiency_percent",
            "what the healthy sessions of the fleet reach at its charger class, power and battery "
            "temperature, by those of the year before the end of the day, percent",
            nullable=False,
        ),
        number_column(
            "excess_loss_kwh",
            "loss beyond the expected: matched_energy_ac_kwh (expected_efficiency_percent - "
            "efficiency_percent) / 100; negative: less was lost, kWh",
            nullable=False,
        ),
        number_column(
            "excess_cost",
            "excess_loss_kwh at the mean price of the session, in the currency; null: no price is "
            "known",
        ),
        text_column("currency", "of excess_cost, ISO 4217", nullable=True),
    ),
)
