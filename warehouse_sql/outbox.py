"""Names of the outbox in the lake's commits."""


def outbox_app_id(identity: str, epoch: str) -> str:
    """The app id of an outbox's Delta commits; `identity` and `epoch` as in `outbox_delivery`."""
    return f"outbox-{identity}-{epoch}"
