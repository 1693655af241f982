"""External assets: what people keep that the tables rest on, and alerts that follow from them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from psycopg.rows import DictRow, dict_row

from lake import Column, EnergySettings
from lake.costs import BadTariff, read_tariffs
from lake.schema import TIMESTAMP, number_column, text_column
from pipelines.assets.metadata import OWNERS, column_schema
from pipelines.resources import WarehouseResource
from warehouse_sql.named_queries import query


def _spec(
    name: str, columns: Sequence[Column], kind: str, where: str, description: str
) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        group_name="registry",
        kinds={kind},
        owners=OWNERS,
        tags={"layer": "registry"},
        metadata={"dagster/column_schema": column_schema(columns), "dagster/table_name": where},
        description=description,
    )


CHARGING_LINKS = _spec(
    "charging_links",
    (
        text_column("meter_id", "id of the meter"),
        text_column("vehicle_id", "id of the vehicle that it feeds"),
        Column("valid_from", TIMESTAMP, "from when on, UTC; null: since ever", nullable=True),
        Column("valid_to", TIMESTAMP, "until when, UTC; null: it goes on", nullable=True),
    ),
    "postgres",
    "public.charging_link",
    "Which meter feeds which vehicle, and when, as people or a charging network say.\n\n"
    "**How it comes about.** By `/v1/links` and `wattlake links import`; pairs by the number at "
    "the end of ids stand beside them (`number_pair`). What vehicles themselves name comes with "
    "their heartbeats and counts where there is no link. A change opens the hours that it concerns "
    "again; they are computed without a hand.\n\n"
    "**Caveats.** Counted here once an hour; hours are computed with the links of that moment.",
)
DEVICE_REGISTRY = _spec(
    "device_registry",
    (
        text_column("stream", "meter or vehicle"),
        text_column("device_id", "id of the device"),
        text_column("charger_class", "class of the charger; null: of none", nullable=True),
        number_column("cadence_seconds", "how often it sends, as people say, seconds"),
        text_column("depot", "where it belongs; null: nowhere", nullable=True),
        text_column("tariff", "name of the tariff of its depot; null: the default", nullable=True),
        Column("first_heard_at", TIMESTAMP, "time of its oldest heartbeat, UTC"),
        Column("retired_at", TIMESTAMP, "from when on nothing is expected of it, UTC"),
    ),
    "postgres",
    "public.device",
    "Meters and vehicles: since when they are heard, and what people say of them.\n\n"
    "**How it comes about.** The histories register each device with its first heartbeat; people "
    "name class, depot and cadence by `/v1/devices` and `wattlake devices import`. The class of a "
    "charger has its power, register and voltage, and with them what a reading can mean; its depot "
    "has the tariff.\n\n"
    "**Caveats.** A class counts for the whole past of its meter, whose hours are computed again.",
)
TARIFFS = _spec(
    "tariffs",
    (
        text_column("tariff", "name of the tariff"),
        text_column("currency", "ISO 4217"),
        Column("valid_from", TIMESTAMP, "local day on which the price begins", nullable=False),
        number_column("price_per_kwh", "price of a kilowatt-hour, in the currency", nullable=False),
    ),
    "yaml",
    "TARIFF_FILE",
    "What a kilowatt-hour costs, by hour, of each tariff.\n\n"
    "**How it comes about.** The file that `TARIFF_FILE` names. The sensor `changed_days` compares "
    "it with what it was and has the days computed again on which a price has changed.\n\n"
    "**Caveats.** Without a file nothing has a cost. A file that is none leaves the days as they "
    "are, and is told by the sensor.",
)
REGISTRY_SPECS = (CHARGING_LINKS, DEVICE_REGISTRY, TARIFFS)


def alerts_spec(hours: dg.AssetDep) -> dg.AssetSpec:
    """The alerts that the collector's rules find in the published hours."""
    return dg.AssetSpec(
        "alerts",
        deps=[hours],
        group_name="alerts",
        kinds={"postgres"},
        owners=OWNERS,
        tags={"layer": "alerts"},
        metadata={
            "dagster/table_name": "mart.alerts",
            "dagster/column_schema": column_schema(
                (
                    text_column("rule", "name of the rule"),
                    text_column("device_id", "id of the device"),
                    text_column("severity", "info, warning or critical"),
                    text_column("state", "open or resolved"),
                    Column("opened_at", TIMESTAMP, "when it was opened, UTC", nullable=False),
                    Column("resolved_at", TIMESTAMP, "when it was resolved, UTC; null: it is open"),
                    number_column("value", "what was found, in the unit of the rule's threshold"),
                )
            ),
        },
        description=(
            "What rules find worth somebody's attention, and what goes to webhooks.\n\n"
            "**How it comes about.** The collector looks at each publication: the rules "
            "`efficiency_status` and `efficiency_drop` at the last two days of vehicle hours in "
            "Postgres, in the seconds after a run. The live rules look at heartbeats and wait for "
            "no run. See docs/alerts.md.\n\n"
            "**Caveats.** Dagster does not make them and knows nothing of their state: "
            "`GET /v1/alerts` and the view `mart.alerts` do."
        ),
    )


def _observe(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> Iterator[dg.ObserveResult]:
    """Note how many links, devices and tariffs there are, and when they last changed."""
    with warehouse.autocommit() as connection:
        found = {
            CHARGING_LINKS.key: _totals(connection, "link_totals"),
            DEVICE_REGISTRY.key: _totals(connection, "device_totals"),
            TARIFFS.key: _tariffs(EnergySettings().tariff_file),
        }
    for key in context.selected_asset_keys:
        yield dg.ObserveResult(asset_key=key, metadata=found[key])


# Called rather than written with @, because the decorator has no types.
registry: dg.AssetsDefinition = dg.multi_observable_source_asset(
    name="registry", specs=list(REGISTRY_SPECS), can_subset=True
)(_observe)


def _totals(connection: psycopg.Connection, name: str) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        totals: DictRow = cursor.execute(query(name)).fetchall()[0]
    return {
        key: dg.MetadataValue.timestamp(value) if key.endswith("_at") else value
        for key, value in totals.items()
        if value is not None
    }


def _tariffs(file: str) -> dict[str, Any]:
    if not file:
        return {"tariffs": "none: TARIFF_FILE is not set"}
    try:
        known = read_tariffs(Path(file))
    except BadTariff as error:
        return {"fault": str(error)}
    described = {name: tariff.currency for name, tariff in known.tariffs.items()}
    return {"tariffs": described, "default": known.default or "none"}
