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
    note: Mapping[str, object] | str | None = None,
) -> None:
    """Write a version of a report; `note` is what is known of it beside its forms, or its text."""
    files, folder = Lake(str(lake)).file_system(), ReportFolder(parse_period(key), Scope(depot))
    for form, content in forms.items():
        data = content.encode() if isinstance(content, str) else content
        write_file(files, folder.file(version, form), data)
    text = note if isinstance(note, str) else json.dumps(note or {})
    write_file(files, folder.figures(version), text.encode())
