"""The columns of what energy cost."""

from typing import Final

import pyarrow as pa

from lake.schema.streams import Column
from lake.schema.table_spec import text_column

# Energies have 9 decimals and prices 8 (6, and the mean of four quarters of an hour two more).
MONEY: Final = pa.decimal128(38, 17)

_ENERGY: Final = Column(
    "cost_of_energy",
    MONEY,
    "of all AC energy by the prices of its hours, in the currency; null: a price is not known, "
    "or there are several currencies",
)
_CURRENCY: Final = text_column(
    "currency", "ISO 4217; null: no tariff, or several currencies", nullable=True
)

COST_COLUMNS: Final = (
    _ENERGY,
    Column(
        "cost_of_losses",
        MONEY,
        "of what the rated hours lost, matched AC less matched DC energy, likewise",
    ),
    _CURRENCY,
)

SESSION_COST_COLUMNS: Final = (
    _ENERGY,
    Column(
        "cost_of_losses",
        MONEY,
        "of loss_kwh, by what each hour has of it, likewise; null where loss_kwh is, too",
    ),
    _CURRENCY,
)
