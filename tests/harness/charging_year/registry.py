"""The devices of a simulated year as the registry has them: classes, cadences, depots."""

from typing import Any, Final

import numpy as np
import psycopg

from tests.harness.charging_year.faults import METER, VEHICLE
from tests.harness.charging_year.fleet import CLASSES, Network, device_ids
from warehouse_sql.device_attributes import DeviceAttributes
from warehouse_sql.devices import DeviceUpdate, update_devices
from warehouse_sql.named_queries import query

_GROUPS_A_DEPOT: Final = 10


def register(database_url: str, network: Network, cadence_seconds: int) -> None:
    """Register all devices; ten groups of chargers and their cars are a depot."""
    groups: dict[int, int] = {
        charger: number
        for number, chargers in enumerate(network.chargers_of_depot)
        for charger in chargers.tolist()
    }
    meters = [
        {"charger_class": CLASSES[of_class]} | _depot(groups.get(number))
        for number, of_class in enumerate(network.charger_class.tolist())
    ]
    homes = zip(network.home.tolist(), network.depot.tolist(), strict=True)
    vehicles = [_depot(None if home >= 0 else group) for home, group in homes]
    depots = {one["depot"] for one in meters if "depot" in one}
    with psycopg.connect(database_url, autocommit=True) as connection:
        for depot in sorted(depots):
            unsaid = dict.fromkeys(("name", "tariff", "time_zone", "latitude", "longitude"))
            connection.execute(query("put_depot"), {"id": depot, **unsaid})
    updates = [
        DeviceUpdate(
            kind,
            device,
            DeviceAttributes.model_validate({"cadence_seconds": cadence_seconds, **attributes}),
        )
        for kind, rows in ((METER, meters), (VEHICLE, vehicles))
        for device, attributes in zip(device_ids(kind, np.arange(len(rows))), rows, strict=True)
    ]
    update_devices(database_url, updates)


def _depot(group: int | None) -> dict[str, Any]:
    return {} if group is None else {"depot": f"depot-{group // _GROUPS_A_DEPOT + 1:02d}"}
