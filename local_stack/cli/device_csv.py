"""CSV files of `wattlake devices`: updates of devices, or their ids."""

import csv
from collections.abc import Collection
from pathlib import Path

from lake import UnusableFile
from lake.csv_injection import unescape_formula
from lake.recordings import read_header, require_utf8
from local_stack.errors import RecordingError
from warehouse_sql.device_csv import (
    STREAMS,
    BadHeader,
    RefusedDevice,
    csv_rows,
    device_columns,
    read_devices,
)
from warehouse_sql.devices import DeviceUpdate


def read_updates(
    file: Path, classes: Collection[str], depots: Collection[str]
) -> tuple[list[DeviceUpdate], list[RefusedDevice]]:
    """Read the devices of a CSV, and each row that is refused.

    `classes` and `depots` are those that there are. Raises RecordingError for what is no such CSV.
    """
    columns, rows = _read(file)
    return read_devices(columns, rows, classes, depots)


def read_ids(file: Path) -> list[tuple[str, str]]:
    """Read stream and id of each row of a CSV; RecordingError where one has none."""
    columns, rows = _read(file)
    found = []
    for number, (_, cells) in enumerate(rows, 1):
        row = dict(zip(columns, cells, strict=False))
        stream, device = row.get("stream"), row.get("device_id")
        if stream not in STREAMS or not device:
            raise RecordingError(
                f"{file}, row {number}: a device is a meter or a vehicle and an id"
            )
        found.append((stream, device))
    return found


def _read(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The columns, and the rows with their lines."""
    try:
        require_utf8(file)
        columns = device_columns(read_header(file))
        with file.open(encoding="utf-8-sig", newline="") as opened:
            _, *rows = [
                (line, [unescape_formula(cell.strip()) for cell in cells])
                for line, cells in csv_rows(opened)
            ]
    except (UnusableFile, BadHeader) as error:
        raise RecordingError(f"{file} {error}") from error
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{file} can't be read: {reason}") from error
    if not rows:
        raise RecordingError(f"{file} has no devices, only a header")
    return columns, rows
