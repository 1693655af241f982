"""The application id under which Delta commits record how far the outbox was delivered."""


def outbox_app_id(identity: str, epoch: str) -> str:
    """The app id of an outbox's Delta commits; `identity` and `epoch` as in `outbox_delivery`."""
    return f"outbox-{identity}-{epoch}"
