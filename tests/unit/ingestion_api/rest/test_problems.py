"""An error that nobody foresaw is a problem without a word of its inside."""

import asyncio

import httpx
from fastapi import FastAPI

from ingestion_api.rest.problems import add_problem_handlers


def test_an_unforeseen_error_tells_nothing_of_its_inside() -> None:
    app = FastAPI()
    add_problem_handlers(app, retry_after_seconds=1)

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError('relation "secret" does not exist')

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.get("/fails")

    answer = asyncio.run(get())
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
