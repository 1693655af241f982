"""Reports beside the tables: the periods that they are of, and the versions of their files."""

from lake.reports.changes import changed_figures
from lake.reports.periods import KINDS, Kind, Period, parse_period
from lake.reports.versions import (
    FORMS,
    ReportFolder,
    ReportVersion,
    Scope,
    list_reports,
    read_file,
    read_note,
    read_versions,
    remove_version,
    write_file,
)

__all__ = [
    "FORMS",
    "KINDS",
    "Kind",
    "Period",
    "ReportFolder",
    "ReportVersion",
    "Scope",
    "changed_figures",
    "list_reports",
    "parse_period",
    "read_file",
    "read_note",
    "read_versions",
    "remove_version",
    "write_file",
]
