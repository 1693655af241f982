"""Bodies of link requests: one link, or many as JSON or CSV, each checked on its own."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, from_json

from ingestion_api.heartbeats.contract import DeviceId
from ingestion_api.heartbeats.strict_decoder import (
    BatchTooLarge,
    Refusal,
    UnreadableBody,
    WrongShape,
)
from ingestion_api.rest.parameters import Moment
from ingestion_api.rest.validation_messages import describe_error, json_fields, unknown_name
from lake.csv_injection import unescape_formula

CSV_COLUMNS: Final = ("meter_id", "vehicle_id", "valid_from", "valid_to")


class LinkToMake(BaseModel):
    """A meter feeds a vehicle from `validFrom` on, until `validTo` or for good."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    meter_id: DeviceId
    vehicle_id: DeviceId
    valid_from: Moment = Field(description="included; ISO 8601 with a zone")
    valid_to: Moment | None = Field(
        default=None, description="excluded; ISO 8601 with a zone; null: open"
    )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "LinkToMake":
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("validTo must be after validFrom")
        return self


def read_links(
    body: bytes, *, is_csv: bool, most: int
) -> tuple[list[tuple[int, LinkToMake]], list[Refusal]]:
    """Links with their position in the body, and the refused rest.

    Reads no more than one row beyond `most`; blocks, so not for the event loop. Raises
    UnreadableBody (also for what is no CSV), WrongShape or BatchTooLarge.
    """
    rows = list(islice(_csv_rows(body), most + 1)) if is_csv else _json_rows(body)
    if not rows:
        raise WrongShape("there is no link in the body")
    if len(rows) > most:
        raise BatchTooLarge(f"more than {most:,} links in one request; send them in parts")
    links, refusals = [], []
    for index, row in enumerate(rows):
        try:
            link = LinkToMake.model_validate(row)
            if isinstance(row, _CutRow):
                reason = "has fewer cells than the first line; an open link ends with a comma"
                refusals.append(Refusal(index, None, reason, "bad_link"))
            else:
                links.append((index, link))
        except ValidationError as error:
            refusals += [
                Refusal(
                    index,
                    str(one["loc"][0]) if one["loc"] else None,
                    _reason(one, row if is_csv else None),
                    "bad_link",
                )
                for one in error.errors(include_url=False, include_input=False)
            ]
    return links, refusals


def _reason(error: ErrorDetails, csv_row: dict[str, str | None] | None) -> str:
    if csv_row is not None:
        if error["type"] == "extra_forbidden":  # names are checked before, so it has none
            return f"stands in no column; the columns are {', '.join(CSV_COLUMNS)}"
        if error["loc"] and csv_row.get(str(error["loc"][0])) is None:
            return "the cell is empty"
    return describe_error(error, json_fields(LinkToMake))


def _json_rows(body: bytes) -> list[Any]:
    try:
        rows = from_json(body)
    except ValueError as error:
        raise UnreadableBody(f"the body is not JSON: {error}") from None
    if not isinstance(rows, list):
        raise WrongShape("the body must be a JSON list of links")
    return rows


class _CutRow(dict[str, str | None]):
    """A row with fewer cells than the header: what its last ones would say is not known."""


def _csv_rows(body: bytes) -> Iterator[dict[str, str | None]]:
    """Rows by column name; an empty cell is null. A cell below no name has its number as name."""
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in CSV_COLUMNS[:3] if name not in header]:
            raise WrongShape(
                f"the CSV has no column {missing[0]}; its first line is {','.join(CSV_COLUMNS)}"
            )
        for name in filter(None, header):
            if name not in CSV_COLUMNS:
                raise WrongShape(f"{name}: {unknown_name('column', name, CSV_COLUMNS)}")
            if header.count(name) > 1:
                raise WrongShape(f"the CSV has the column {name} twice")
        for row in reader:
            cells = {
                (header[at] if at < len(header) else "") or f"cell {at + 1}": unescape_formula(
                    cell.strip()
                )
                for at, cell in enumerate(row)
            }
            if row:
                found = dict.fromkeys(CSV_COLUMNS) | {
                    name: cell for name, cell in cells.items() if cell
                }
                yield _CutRow(found) if len(row) < len(header) else found
    except UnicodeDecodeError:
        raise UnreadableBody("the CSV is not UTF-8") from None
    except csv.Error as error:
        raise UnreadableBody(f"the body is not CSV: {error}") from None
