"""Writer of `docs/configuration.md` and `.env.example` from the settings classes: `make docs`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from ingestion_api.settings import CollectorSettings
from lake.settings import EnergySettings, LakeSettings
from local_stack.settings import LocalStackSettings
from pipelines.settings import PipelineSettings
from warehouse_sql.settings import DatabaseSettings

REPOSITORY: Final = Path(__file__).parents[1]
# A variable that two classes read stands with the first.
SECTIONS: Final[dict[str, type[BaseSettings]]] = {
    "Postgres": DatabaseSettings,
    "The lake": LakeSettings,
    "The collector": CollectorSettings,
    "Energy and efficiency": EnergySettings,
    "Dagster": PipelineSettings,
    "One machine: `make run`, `wattlake up`": LocalStackSettings,
}
_ABOVE: Final = """\
<!-- Written by `make docs` from the settings classes. Edit the descriptions there. -->

# Configuration

Every setting is a variable of the environment, or a line of the file `.env` in the folder where
the process starts. The environment counts before the file. An empty variable is one that is not
set. A value that can't be is told at the start, with the name of its variable.
[.env.example](../.env.example) has all of them to copy.
"""
_ABOVE_EXAMPLE: Final = """\
# Copy to .env and take the # off a variable to set it. What is shown are the defaults.
"""
_BELOW: Final = """
## Set in other ways

`wattlake up` keeps the lake in its data folder, flushes every 5 seconds and takes any number of new
devices unless `LAKE_URI`, `FLUSH_SECONDS` and `NEW_DEVICES_PER_HOUR` are set. Dagster itself reads
`DAGSTER_HOME` and `DAGSTER_POSTGRES_URL` ([server.md](server.md)). The command line reads
`WATTLAKE_URL`, where the collector is, and `WATTLAKE_API_KEY`, the key to send, from the
environment only.
"""


class Variable(NamedTuple):
    """A setting as users see it."""

    name: str
    default: str
    description: str


def documents() -> dict[Path, str]:
    """The content of each document by its path."""
    return {
        REPOSITORY / "docs" / "configuration.md": _markdown(),
        REPOSITORY / ".env.example": _env_example(),
    }


def _sections() -> Iterator[tuple[str, type[BaseSettings], list[Variable]]]:
    """Title, settings class and variables of each section; each variable once."""
    seen: set[str] = set()
    for title, package in SECTIONS.items():
        found = []
        for field_name, field in package.model_fields.items():
            if (name := _name(field_name, field)) not in seen:
                if not field.description:
                    raise ValueError(f"{package.__name__}.{field_name} has no description")
                found.append(Variable(name, _default(field), field.description))
                seen.add(name)
        yield title, package, found


def _markdown() -> str:
    parts = [_ABOVE]
    for title, package, found in _sections():
        module = package.__module__.replace(".", "/")
        parts.append(f"\n## {title}\n\n`{package.__name__}` in `{module}.py`.\n\n")
        parts.append("| variable | default | meaning |\n|---|---|---|\n")
        parts += [
            f"| `{name}` | {f'`{default}`' if default else ''} | {description} |\n"
            for name, default, description in found
        ]
    return "".join([*parts, _BELOW])


def _env_example() -> str:
    parts = [_ABOVE_EXAMPLE]
    for title, _, found in _sections():
        parts.append(f"\n# --- {title}\n")
        parts += [f"\n# {description}\n#{name}={default}\n" for name, default, description in found]
    return "".join(parts)


def _name(field_name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return (alias if isinstance(alias, str) else field_name).upper()


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value == {}:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value) if isinstance(value, bool) else str(value)


def main() -> None:
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
