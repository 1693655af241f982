"""Versions of reports: a new one when figures have changed, which says what; old ones stay."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pyarrow.fs import FileSystem

from lake import EnergySettings, Lake
from lake.reports import (
    FORMS,
    ReportFolder,
    ReportVersion,
    changed_figures,
    read_note,
    read_versions,
    remove_version,
    write_file,
)
from pipelines.report.content import content_of, key_figures
from pipelines.report.figures import Figures
from pipelines.report.render import render
from pipelines.report.tables import csv_table, rows_of

SO_FAR = 0
# Of a period that goes on, and is made again after each hour.
_FORMS_SO_FAR = ("html", "csv")


@dataclass(frozen=True)
class StoredReport:
    """A version, whether it was written now, and what it says that the one before did not."""

    folder: ReportFolder
    number: int
    is_new: bool
    changed: Sequence[str]


def store_report(
    lake: Lake, figures: Figures, settings: EnergySettings, base: str, kept: int
) -> StoredReport:
    """Write the forms of a report as its next version, if any of its rows are other ones by now.

    `base` is the URL of the collector's pages. The first and the `kept` newest versions stay. What
    is not over is version 0 and is written anew.
    """
    files, folder = lake.file_system(), ReportFolder(figures.period, figures.scope)
    rows = rows_of(figures)
    digest = hashlib.sha256(csv_table(rows)).hexdigest()
    versions = read_versions(files, folder)
    numbered = [version for version in versions if version.number != SO_FAR]
    forms: Sequence[str] = tuple(FORMS)
    number, changed = 1, list[str]()
    if figures.is_partial:
        number, forms = SO_FAR, _FORMS_SO_FAR
    elif numbered:
        known = read_note(files, folder, numbered[-1].number)
        assert known is not None
        if known["digest"] == digest:
            return StoredReport(folder, numbered[-1].number, is_new=False, changed=())
        number = numbered[-1].number + 1
        changed = changed_figures(known, key_figures(figures.totals))
    content = content_of(figures, number, changed, settings, lake.uri, base)
    for form in forms:
        write_file(files, folder.file(number, form), render(form, content, figures, rows, settings))
    note = {
        "version": number,
        "madeAt": figures.generated_at.isoformat(),
        "title": content["title"],
        "name": figures.name,
        "digest": digest,
        "figures": key_figures(figures.totals),
        "changed": changed,
        "sources": figures.sources,
    }
    write_file(files, folder.figures(number), json.dumps(note, indent=1).encode())
    _prune(files, folder, [v for v in versions if v.number != number], kept, number)
    return StoredReport(folder, number, is_new=True, changed=changed)


def _prune(
    files: FileSystem,
    folder: ReportFolder,
    others: Sequence[ReportVersion],
    kept: int,
    newest: int,
) -> None:
    """Remove what is between the first version and the newest ones; and what was so far."""
    if newest == SO_FAR:
        return
    for version in others:
        if version.number == SO_FAR or 1 < version.number <= newest - kept:
            remove_version(files, folder, version)
