"""Reading a request body no further than its limit."""

from starlette.requests import ClientDisconnect, Request

from ingestion_api.problems import Problem


async def read_body(request: Request, limit: int) -> bytes:
    """The body; a Problem 413 as soon as it is longer than `limit` bytes, announced or not."""
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise Problem(400, "the body ended early") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Problem:
    # Closing tells the server not to read the rest.
    return Problem(
        413,
        f"the body is larger than {limit:,} bytes; send it in parts",
        headers={"Connection": "close"},
    )
