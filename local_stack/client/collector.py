"""HTTP client of a collector that waits and repeats."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from local_stack.errors import CollectorError, KeyRefused

Answer = TypeVar("Answer", bound=BaseModel)
_Parameter: TypeAlias = str | int | list[str] | tuple[str, ...]

TOO_MANY_NEW_DEVICES: Final = "too_many_new_devices"  # code of a record that is to come again

_LONGEST_WAIT: Final = 30.0
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Posted:
    """An answer to the records at some places of a list; `later` are indexes of `places`."""

    places: Sequence[int]
    response: httpx.Response
    later: Sequence[int]


class Collector:
    """The HTTP interface at one URL, called with an API key if there is one; threads may share it.

    A call that the key does not open is KeyRefused, a CollectorError.
    """

    def __init__(self, url: str, seconds: float = 30, key: str | None = None) -> None:
        self.url, self._has_key = url.rstrip("/"), key is not None
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=self.url, timeout=seconds, headers=headers)
        except httpx.InvalidURL as error:
            raise CollectorError(f"{url!r} is no URL: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Ctrl-C may strike while the client holds its lock; closing would then wait for ever.
        if kind is None or issubclass(kind, Exception):
            self._http.close()

    def check_ready(self) -> None:
        """Raise CollectorError, in one line, unless the collector takes heartbeats."""
        self._get("/readyz", {})

    def read(self, answer: type[Answer], path: str, **parameters: _Parameter) -> Answer:
        """GET a path; CollectorError, in one line, if the answer is not of that kind."""
        response = self._get(path, parameters)
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise CollectorError(
                f"{self.url}{path} does not answer like a collector of this version"
            ) from error

    def post(
        self, path: str, body: bytes, content_type: str = "application/json"
    ) -> httpx.Response:
        """POST once and return the answer; CollectorError if nobody answers."""
        headers = {"content-type": content_type}
        return self._once(self._http.build_request("POST", path, content=body, headers=headers))

    def post_until_answered(
        self,
        path: str,
        body: bytes,
        give_up_after: float | None = None,
        on_wait: Callable[[str], None] = lambda reason: None,
    ) -> httpx.Response:
        """Post as a device does, again and again until the collector takes or refuses it.

        A 503 says in Retry-After when to come back; else the pauses grow. `on_wait` hears the
        reason of each pause. After `give_up_after` seconds without an answer: CollectorError; a key
        that is refused is KeyRefused at once.
        """
        began, pause = time.monotonic(), 0.5
        while True:
            try:
                response = self.post(path, body)
                if response.status_code not in _TRY_AGAIN:
                    return response
                reason, wait = describe(response), _retry_after(response) or pause
            except KeyRefused:
                raise
            except CollectorError as error:
                reason, wait = str(error), pause
            if give_up_after is not None and time.monotonic() - began > give_up_after:
                raise CollectorError(f"gave up after {give_up_after:.0f} s: {reason}")
            on_wait(reason)
            time.sleep(min(wait, _LONGEST_WAIT))
            pause = min(2 * pause, 10)

    def post_records(
        self,
        path: str,
        records: Sequence[object],
        give_up_after: float | None = None,
        on_wait: Callable[[str], None] = lambda reason: None,
    ) -> Iterator[Posted]:
        """Post a list until each record is taken or refused for good; yields each answer to some.

        What is refused with `too_many_new_devices` is posted again after Retry-After. The rest is
        as for `post_until_answered`.
        """
        places = list(range(len(records)))
        while places:
            body = json.dumps([records[place] for place in places], default=str).encode()
            response = self.post_until_answered(path, body, give_up_after, on_wait)
            posted = Posted(places, response, _taken_later(response))
            yield posted
            places = [places[index] for index in posted.later]
            if places:
                on_wait(f"{describe(response)}: {len(places)} records are of too many new devices")
                time.sleep(min(_retry_after(response) or 1, _LONGEST_WAIT))

    def _get(self, path: str, parameters: Mapping[str, _Parameter]) -> httpx.Response:
        response = self._once(self._http.build_request("GET", path, params=parameters))
        if not response.is_success:
            raise CollectorError(f"{self.url}{path} answers {describe(response)}")
        return response

    def _once(self, request: httpx.Request) -> httpx.Response:
        try:
            response = self._http.send(request)
        except httpx.TimeoutException as error:
            raise CollectorError(f"the collector at {self.url} does not answer in time") from error
        except httpx.HTTPError as error:
            raise CollectorError(
                f"no collector answers at {self.url}: start one with `wattlake up`, "
                "or name another with --url"
            ) from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            refusal = "does not know the API key in" if self._has_key else "wants an API key in"
            raise KeyRefused(
                f"{self.url} {refusal} WATTLAKE_API_KEY; `wattlake keys create` makes one"
            )
        return response


def _taken_later(response: httpx.Response) -> list[int]:
    try:
        errors = response.json().get("errors", [])
        return [error["index"] for error in errors if error.get("code") == TOO_MANY_NEW_DEVICES]
    except (ValueError, AttributeError, KeyError, TypeError):  # no answer of a collector
        return []


def refusal(path: str, response: httpx.Response) -> str:
    """An answer that takes nothing, with the start of its body."""
    return f"{path} answers {describe(response)}: {response.text[:500]}"


def describe(response: httpx.Response) -> str:
    """Status and, where the answer has one, the reason."""
    try:
        body = response.json()
    except ValueError:
        body = None
    reason = response.reason_phrase
    if isinstance(body, dict):
        reason = body.get("detail") or "; ".join(body.get("reasons", ())) or reason
    return f"{response.status_code} ({reason})"


def _retry_after(response: httpx.Response) -> float | None:
    header = response.headers.get("retry-after", "")
    return float(header) if header.isdigit() else None
