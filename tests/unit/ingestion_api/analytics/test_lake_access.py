"""Reads of the lake that hang keep nothing else waiting."""

import asyncio
from threading import Event

from ingestion_api.analytics.lake_access import in_lake_thread


def test_a_lake_that_does_not_answer_takes_no_thread_from_other_work() -> None:
    answers = Event()

    async def others_while_many_wait() -> str:
        reads = [asyncio.ensure_future(in_lake_thread(answers.wait, 60)) for _ in range(100)]
        try:
            async with asyncio.timeout(30):
                return await asyncio.to_thread(str, "unpack")
        finally:
            answers.set()
            assert all(await asyncio.gather(*reads))

    assert asyncio.run(others_while_many_wait()) == "unpack"
