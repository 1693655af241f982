"""Errors that several rooms share."""


class NotCommitted(Exception):
    """The heartbeats are not acknowledged; the client sends them again."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause
