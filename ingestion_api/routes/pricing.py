"""The tariffs as they are now, and which of them meters have."""

from ingestion_api.services import Services
from lake.costs import Pricing
from warehouse_sql.named_queries import query


async def current_pricing(services: Services) -> Pricing | None:
    """The tariffs, and which of them meters have by their depot; None: there are none."""
    if services.tariffs is None:
        return None
    async with services.pool.connection() as conn:
        rows = await (await conn.execute(query("tariffs_of_meters"))).fetchall()
    return Pricing(services.tariffs, {row["device_id"]: row["tariff"] for row in rows})
