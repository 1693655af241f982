"""Refusal of query parameters that the route does not know, or that are given twice."""

from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

from fastapi.dependencies.models import Dependant
from starlette.requests import HTTPConnection

from ingestion_api.rest.problems import Problem
from ingestion_api.rest.validation_messages import unknown_name

_MOST_TOLD: Final = 20

# By the identity of the route, of which an application has each as long as it lives: whether a
# parameter is a list, in the order in which the route names them.
_KNOWN: Final[dict[int, dict[str, bool]]] = {}


async def reject_unknown_parameters(connection: HTTPConnection) -> None:
    """Problem 422 for a name that the route doesn't know, and for a single value given twice.

    A misspelt filter would otherwise be answered with the rows of all.
    """
    if not connection.scope["query_string"]:
        return
    route = connection.scope["route"]
    known = _KNOWN.get(id(route))
    if known is None:
        known = _KNOWN[id(route)] = dict(_parameters(route.dependant))
    sent = connection.query_params
    errors = [
        {"field": name, "reason": reason}
        for name in sent
        if (reason := _reason(name, known, sent.getlist(name)))
    ]
    if errors:
        told = "; ".join(f"{one['field']}: {one['reason']}" for one in errors[:_MOST_TOLD])
        raise Problem(422, told, errors=errors[:_MOST_TOLD])


def _reason(name: str, known: dict[str, bool], values: list[str]) -> str | None:
    if name not in known:
        return unknown_name("parameter", name, list(known))
    if len(values) > 1 and not known[name]:
        return f"takes one value, and {len(values)} were sent"
    return None


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    for field in dependant.query_params:
        yield field.alias, _is_list(field.field_info.annotation)
    for inner in dependant.dependencies:
        yield from _parameters(inner)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))
