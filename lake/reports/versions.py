"""Files of reports below the lake's URL, by period, scope and version.

`reports/day/fleet/2026-01-15/v2/efficiency.pdf`; of a depot `reports/day/depot=north/...`.
Version 0 is that of a period that is not over, and is written anew; from 1 on a version never
changes. `figures.json` is written last: a version without it is not there yet.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from lake.errors import LakeDamaged
from lake.reports.periods import Kind, Period, parse_period

FORMS: Final = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
"""The forms of a report, and their media types."""

FIGURES: Final = "figures.json"
_NAME: Final = "efficiency"
_FILE: Final = re.compile(r"/(\d{4}-(?:\d{2}-\d{2}|W\d{2}|\d{2}))/v(\d+)/([^/]+)$")


@dataclass(frozen=True)
class Scope:
    """Whom a report is of: a depot by its id, or the fleet."""

    depot: str | None = None

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return "fleet" if self.depot is None else f"depot={self.depot}"


@dataclass(frozen=True)
class ReportFolder:
    """The place of all versions of one report."""

    period: Period
    scope: Scope

    @property
    def path(self) -> str:
        """The folder below the lake's URL."""
        return f"{_scope_path(self.period.kind, self.scope)}/{self.period.key}"

    def file(self, version: int, form: str) -> str:
        """The path of a form of a version."""
        return f"{self.path}/v{version}/{_NAME}.{form}"

    def figures(self, version: int) -> str:
        """The path of what is known of a version."""
        return f"{self.path}/v{version}/{FIGURES}"


@dataclass(frozen=True)
class ReportVersion:
    """A version, 0 where the period is not over, and the forms that it has."""

    number: int
    forms: tuple[str, ...]


def list_reports(
    files: FileSystem, kind: Kind, scope: Scope
) -> Mapping[Period, list[ReportVersion]]:
    """Return the versions of each report of a kind and scope, both in order."""
    path = _scope_path(kind, scope)
    infos = files.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
    found = _versions(infos)
    return {
        period: found[key]
        for period, key in sorted((parse_period(key), key) for key in found)
        if found[key]
    }


def read_versions(files: FileSystem, folder: ReportFolder) -> list[ReportVersion]:
    """Return the versions of one report, in order."""
    infos = files.get_file_info(FileSelector(folder.path, allow_not_found=True, recursive=True))
    return _versions(infos).get(folder.period.key, [])


def read_file(files: FileSystem, path: str) -> bytes | None:
    """Return what a file holds; None where there is none."""
    try:
        with files.open_input_stream(path) as stream:
            content: bytes = stream.read()
            return content
    except FileNotFoundError:
        return None


def read_note(files: FileSystem, folder: ReportFolder, version: int) -> Mapping[str, Any] | None:
    """Return what is known of a version: its figures as they are written, and how it came about.

    None where there is no such version. Raises LakeDamaged for a file that is no JSON.
    """
    content = read_file(files, folder.figures(version))
    if content is None:
        return None
    try:
        note: Mapping[str, Any] = json.loads(content)
    except ValueError as error:
        raise LakeDamaged(
            f"{folder.figures(version)} is damaged: remove its folder, and make the report again"
        ) from error
    return note


def write_file(files: FileSystem, path: str, content: bytes) -> None:
    """Write a file in one step, so that a reader sees the old or the new content."""
    files.create_dir(path.rsplit("/", 1)[0], recursive=True)
    with files.open_output_stream(f"{path}.part") as stream:
        stream.write(content)
    files.move(f"{path}.part", path)


def remove_version(files: FileSystem, folder: ReportFolder, version: ReportVersion) -> None:
    """Remove the files of a version, what says that it is there first."""
    paths = [folder.figures(version.number)]
    paths += [folder.file(version.number, form) for form in version.forms]
    for path in paths:
        files.delete_file(path)


def _scope_path(kind: Kind, scope: Scope) -> str:
    return f"reports/{kind}/{scope.folder}"


def _versions(infos: Iterable[FileInfo]) -> dict[str, list[ReportVersion]]:
    """The versions by key; other files than those of reports are left out."""
    found: dict[str, dict[int, set[str]]] = {}
    for info in infos:
        if info.type == FileType.File and (match := _FILE.search(info.path)):
            key, version, name = match.groups()
            found.setdefault(key, {}).setdefault(int(version), set()).add(name)
    return {
        key: [
            ReportVersion(number, tuple(form for form in FORMS if f"{_NAME}.{form}" in names))
            for number, names in sorted(versions.items())
            if FIGURES in names
        ]
        for key, versions in found.items()
    }
