"""Errors of the database, in words that a person can act on."""


class WarehouseError(Exception):
    """Base of this package's errors."""


class DatabaseUnreachable(WarehouseError):
    """The database does not answer; check DATABASE_URL and that the server runs."""


class MigrationFailed(WarehouseError):
    """The database refused a migration; most often the account lacks a right."""


class MigrationChanged(WarehouseError):
    """A migration that was applied before has other text now; add a new one instead."""


class SchemaNewerThanCode(WarehouseError):
    """The database was migrated by a newer Wattlake; update this installation."""


def one_line(error: Exception) -> str:
    """Return all that an error says as one line: the first of several has the reason."""
    return " ".join(str(error).split()) or type(error).__name__
