"""Named SQL: `-- name: links_between` in queries/*.sql starts the query `links_between`."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def query(name: str) -> bytes:
    """The SQL text of one named query, as bytes for psycopg; KeyError if there is none."""
    return _all_queries()[name]


@cache
def _all_queries() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in sorted(files(__package__).joinpath("queries").iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        _, *blocks = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(blocks[::2], blocks[1::2], strict=True):
            if name in found:
                raise ValueError(f"query {name!r} is defined twice, again in {file.name}")
            found[name] = text.strip().encode()
    return found
