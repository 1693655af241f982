"""Errors of this package; each message is one line that says what to do."""


class LocalStackError(Exception):
    """Base of this package's errors."""


class FolderError(LocalStackError):
    """A folder can't be created or written."""


class PostgresError(LocalStackError):
    """The embedded PostgreSQL server can't be set up, started or stopped."""


class CollectorError(LocalStackError):
    """The collector does not answer, or not as a collector does."""


class KeyRefused(CollectorError):
    """The collector does not take the API key, or wants one where none was sent."""


class StackError(LocalStackError):
    """The stack can't start on this machine as it is."""


class RecordingError(LocalStackError):
    """A file holds no heartbeats that could be replayed."""


class UsageError(LocalStackError):
    """The command was given something that it can't be given."""
