"""Files of reports below a lake, as the pipelines leave them."""

import json
from collections.abc import Mapping
from pathlib import Path

from lake import Lake
from lake.reports import ReportFolder, Scope, parse_period, write_file


def put_report(
    lake: Path,
    key: str,
    forms: Mapping[str, str | bytes],
    *,
    depot: str | None = None,
    version: int = 1,
    note: Mapping[str, object] | None = None,
) -> None:
    """Write a version of a report; `note` is what is known of it beside its forms."""
    files, folder = Lake(str(lake)).file_system(), ReportFolder(parse_period(key), Scope(depot))
    for form, content in forms.items():
        data = content.encode() if isinstance(content, str) else content
        write_file(files, folder.file(version, form), data)
    write_file(files, folder.figures(version), json.dumps(note or {}).encode())
