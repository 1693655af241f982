"""Silences of a rule at a device: list, begin, end."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ingestion_api.alerts.models import add_events
from ingestion_api.alerts.rules import DeviceKind, RuleFile, device_kinds
from ingestion_api.heartbeats.contract import ID_PATTERN
from ingestion_api.rest.json_body import describe_record, read_record
from ingestion_api.rest.models import Answer
from ingestion_api.rest.parameters import Moment
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.validation_messages import RULE_NAME, unknown_name
from ingestion_api.routes.alerts import caller_of
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

router = APIRouter(prefix="/v1/alerts/silences", tags=["alerts"])

_EXAMPLE = {"rule": "battery-warm", "deviceKind": "vehicle", "deviceId": "VEH001"}


class Silenced(BaseModel):
    """A rule at a device."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    rule: Annotated[str, Field(pattern=RULE_NAME)]
    device_kind: DeviceKind
    device_id: Annotated[str, Field(pattern=ID_PATTERN)]


class SilenceToKeep(Silenced):
    """A rule at a device, and for how long."""

    until: Moment


class Silence(Answer):
    """A silence: no webhook hears of this rule at this device."""

    rule: str
    device_kind: DeviceKind
    device_id: str
    until: datetime
    by: str | None = Field(description="name of the API key")


class Silences(Answer):
    """All that hold now."""

    silences: list[Silence]


class Ended(Answer):
    """The outcome of the request."""

    ended: bool = Field(description="whether there was such a silence")


@router.get("", responses=problem_responses(503), name="Rules that are silenced")
async def list_silences(services: ServicesDep) -> Silences:
    """Silences of a rule at a device that hold now."""
    async with services.pool.connection() as conn:
        rows = await (await conn.execute(query("list_silences"))).fetchall()
    return Silences(silences=[Silence(**row) for row in rows])


@router.post(
    "",
    responses=problem_responses(400, 408, 413, 415, 422, 503),
    openapi_extra=describe_record(SilenceToKeep, {**_EXAMPLE, "until": "2030-01-01T00:00:00Z"}),
    name="Silence a rule at a device",
)
async def keep_silence(request: Request, services: ServicesDep) -> Silence:
    """Tell no webhook of alerts of this rule and device until a time, open or to come.

    The rule must be one of GET /v1/alerts/rules, and be about devices of this kind.
    """
    wanted = await read_record(request, services.bodies, SilenceToKeep)
    if wanted.until <= services.now():
        raise Problem(422, "until: must lie in the future")
    _check_rule(wanted, services.alerts.rules)
    by = caller_of(request).name
    values = wanted.model_dump() | {"by": by}
    async with services.pool.connection() as conn, conn.transaction():
        await conn.execute(query("keep_silence"), values)
        found = await (await conn.execute(query("open_alert_of"), values)).fetchone()
        if found is not None:
            row = found | {"until": wanted.until}
            rows = await (await conn.execute(query("silence_alert"), row)).fetchall()
            await add_events(conn, [one["id"] for one in rows], "silenced", by)
    return Silence(**values)


@router.post(
    "/end",
    responses=problem_responses(400, 408, 413, 415, 422, 503),
    openapi_extra=describe_record(Silenced, dict(_EXAMPLE)),
    name="End the silence of a rule at a device",
)
async def end_silence(request: Request, services: ServicesDep) -> Ended:
    """Tell webhooks of this rule and device again, also of an alert that is open."""
    wanted = (await read_record(request, services.bodies, Silenced)).model_dump()
    by = caller_of(request).name
    async with services.pool.connection() as conn, conn.transaction():
        was = await (await conn.execute(query("drop_silence"), wanted)).fetchone()
        found = await (await conn.execute(query("open_alert_of"), wanted)).fetchone()
        if was is not None and found is not None:
            rows = await (await conn.execute(query("unsilence_alert"), found)).fetchall()
            await add_events(conn, [one["id"] for one in rows], "unsilenced", by)
    return Ended(ended=was is not None)


def _check_rule(wanted: Silenced, rules: RuleFile) -> None:
    """Problem 422 for a rule that could open no alert of the device."""
    kinds = {rule.name: device_kinds(rule) for rule in rules.rules}
    fitting = [name for name, kinds_of in kinds.items() if wanted.device_kind in kinds_of]
    if wanted.rule in fitting:
        return
    if wanted.rule in kinds:
        reason = f"{wanted.rule} is not about a {wanted.device_kind}; of these there are "
        raise Problem(422, f"rule: {reason}{', '.join(fitting) or 'none'}")
    raise Problem(422, f"rule: {unknown_name('rule', wanted.rule, fitting)}")
