"""Errors of the lake, with texts that say what to do."""


class LakeError(Exception):
    """Base of this package's errors."""


class TableMissing(LakeError):
    """A table of the lake does not exist yet; `wattlake up` or the collector creates it."""


class StaleRead(LakeError):
    """Somebody else wrote what this writer had read; read again and start over."""


class LogGone(LakeError):
    """The Delta log does not go back so far any more; count what the table holds instead."""


class WrongLake(LakeError):
    """LAKE_URI is not the lake that belongs to DATABASE_URL, or an older copy of it."""


class LakeDamaged(LakeError):
    """A commit names a data file that is missing or is not as it was written."""


class OldTable(LakeError):
    """A table that an earlier version wrote in another layout."""


class UnusableFolder(LakeError):
    """The lake's folder has a name that the Delta library can't read back."""


class UnusableFile(LakeError):
    """A file of recorded heartbeats that can't be used as it is; the text follows its name."""
