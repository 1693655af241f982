"""Content negotiation of tables: JSON, CSV or an Arrow stream."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
from pydantic.alias_generators import to_camel
from pydantic_core import to_json
from starlette.requests import Request

from ingestion_api.rest.problems import Problem
from lake import Column
from lake.csv_injection import escape_frame

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
FORMATS: Final = (JSON, CSV, ARROW)


async def require_json(request: Request) -> None:
    """A dependency of lists that are JSON alone: Problem 406 for who wants none."""
    negotiate_format(request, (JSON,))


def negotiate_format(request: Request, formats: Sequence[str] = FORMATS) -> str:
    """The media type that the caller likes most, the first where all are alike; Problem 406."""
    accepted = ",".join(request.headers.getlist("accept")).lower()
    if not accepted.strip(", "):
        return formats[0]
    ranges = [_media_range(text) for text in accepted.split(",") if text.strip()]
    best = max(formats, key=lambda kind: _liking(kind, ranges))
    if _liking(best, ranges) <= 0:
        raise Problem(406, f"Accept: this call answers with {', '.join(formats)}")
    return best


def table_content(page: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAPI `content` of an answer that is a page in JSON, and its rows in the others."""
    return {
        JSON: {"schema": page},
        CSV: {"schema": {"type": "string"}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }


def page_of_table(description: str, page: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAPI of an answer with `table_content` that other pages follow."""
    following = {"description": "the next page, if any", "schema": {"type": "string"}}
    return {
        "description": description,
        "headers": {"Link": following},
        "content": table_content(page),
    }


def render_table(rows: pl.DataFrame, columns: Sequence[Column], kind: str) -> bytes:
    """The rows as CSV or as an Arrow stream.

    A CSV (RFC 4180) has times in ISO 8601 and lists as JSON, and no text that is a formula.
    """
    if kind == CSV:
        return _csv(rows)
    schema = pa.schema([column.field() for column in columns])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(rows.rechunk().to_arrow().cast(schema))
    return sink.getvalue().to_pybytes()


def camel_case_rows(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows with the names that JSON has."""
    return rows.rename({name: to_camel(name) for name in rows.columns}).to_dicts()


def row_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """The JSON schema of such a row."""
    return {
        "type": "object",
        "properties": {to_camel(c.name): _value_schema(c) for c in columns},
        "required": [to_camel(column.name) for column in columns],
    }


def _csv(rows: pl.DataFrame) -> bytes:
    lists = [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
    as_json = [
        pl.Series(name, [to_json(value).decode() for value in rows[name].to_list()], pl.String)
        for name in lists
    ]
    text = escape_frame(rows.with_columns(as_json)).write_csv(
        line_terminator="\r\n", datetime_format="%Y-%m-%dT%H:%M:%S%.fZ"
    )
    return text.encode()


def _value_schema(column: Column) -> dict[str, Any]:
    kind: dict[str, Any]
    if pa.types.is_timestamp(column.type):
        kind = {"type": "string", "format": "date-time"}
    elif pa.types.is_date(column.type):
        kind = {"type": "string", "format": "date"}
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        # Of numbers any may be unknown, as a week without sessions.
        is_number = pa.types.is_floating(column.type.value_type)
        kind = {"type": "array", "items": {"type": ["number", "null"] if is_number else "string"}}
    elif pa.types.is_integer(column.type):
        kind = {"type": "integer"}
    elif pa.types.is_floating(column.type):
        kind = {"type": "number"}
    elif pa.types.is_decimal(column.type):
        kind = {"type": "string", "format": "decimal"}
    else:
        kind = {"type": "string"}
    if column.nullable:
        kind = {**kind, "type": [kind["type"], "null"]}
    return {**kind, "description": column.description}


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in text.split(";"))
    named = dict(part.split("=", 1) for part in parameters if "=" in part)
    try:
        return name, float(named.get("q", "1"))
    except ValueError:
        return name, 0.0


def _liking(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The weight of the most exact range that holds this type."""
    weights: Mapping[str, float] = dict(reversed(ranges))
    for name in (kind, kind.partition("/")[0] + "/*", "*/*"):
        if name in weights:
            return weights[name]
    return 0.0
