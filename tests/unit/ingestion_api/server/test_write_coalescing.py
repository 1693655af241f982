"""What is written to a connection goes out whole, in order, and in as few pieces as it may."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from ingestion_api.server.write_coalescing import CoalescedWrites


class Wire(asyncio.Transport):
    """Keeps what goes out together."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        assert not self.closed
        self.sent.append(b"".join(list_of_data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def sent(use: Callable[[CoalescedWrites], None], turns: int = 1) -> list[bytes]:
    """What goes out after `use`, and some turns of the event loop."""

    async def main() -> list[bytes]:
        wire = Wire()
        use(CoalescedWrites(wire, asyncio.get_running_loop()))
        for _ in range(turns):
            await asyncio.sleep(0)
        return [*wire.sent]

    return asyncio.run(main())


def write(*parts: bytes) -> Callable[[CoalescedWrites], None]:
    """Write them at once."""

    def use(joined: CoalescedWrites) -> None:
        for part in parts:
            joined.write(part)

    return use


def test_head_and_body_go_out_together_without_being_asked_for() -> None:
    assert sent(write(b"head", b"body")) == [b"headbody"]


def test_a_flush_goes_out_at_once_and_only_once() -> None:
    def use(joined: CoalescedWrites) -> None:
        write(b"head", b"body")(joined)
        joined.flush()

    assert sent(use, turns=0) == [b"headbody"]
    assert sent(use, turns=2) == [b"headbody"]


def test_what_is_held_goes_out_before_the_end() -> None:
    def use(joined: CoalescedWrites) -> None:
        joined.write(b"last words")
        joined.close()

    assert sent(use, turns=2) == [b"last words"]


def test_nothing_is_written_to_a_connection_that_was_lost() -> None:
    def use(joined: CoalescedWrites) -> None:
        joined.write(b"too late")
        joined.under.close()

    assert sent(use, turns=2) == []


def test_much_is_not_held() -> None:
    part = bytes(40_000)
    assert sent(write(part, part, b"end"), turns=0) == [part + part]
    assert sent(write(part, part, b"end")) == [part + part, b"end"]
