"""Every setting stands in `.env.example` and in the README, with its default and its meaning."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, LakeSettings
from local_stack.settings import ClientSettings, LocalStackSettings
from pipelines.settings import PipelineSettings
from warehouse_sql.settings import DatabaseSettings

REPOSITORY = Path(__file__).parents[2]
PACKAGES: tuple[type[BaseSettings], ...] = (
    DatabaseSettings,
    LakeSettings,
    CollectorSettings,
    EnergySettings,
    PipelineSettings,
    LocalStackSettings,
)


def settings() -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each variable; a variable of two packages once."""
    seen: set[str] = set()
    for package in PACKAGES:
        for field_name, field in package.model_fields.items():
            name = variable(field_name, field)
            if name not in seen:
                seen.add(name)
                assert field.description, f"{package.__name__}.{field_name} has no description"
                yield name, default_text(field), field.description


def variable(field_name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return (alias if isinstance(alias, str) else field_name).upper()


def default_text(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value == {}:
        return ""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(value) if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(("name", "default", "description"), list(settings()))
def test_env_example_lists_the_setting(name: str, default: str, description: str) -> None:
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    assert f"# {description}\n#{name}={default}\n" in text


@pytest.mark.parametrize(("name", "default", "description"), list(settings()))
def test_readme_lists_the_setting(name: str, default: str, description: str) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"| `{name}` | {f'`{default}`' if default else ''} | {description} |\n" in text


@pytest.mark.parametrize("package", [*PACKAGES, ClientSettings])
def test_an_empty_variable_is_one_that_is_not_set(
    package: type[BaseSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # away from a .env
    names = [name.upper() for name in package.model_fields]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    unset = told_by(package)
    for name in names:
        monkeypatch.setenv(name, "")
    assert told_by(package) == unset
    for name in names:
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in names), encoding="utf-8")
    assert told_by(package) == unset


def told_by(package: type[BaseSettings]) -> object:
    """The settings, or what is wrong with them."""
    try:
        return package().model_dump()
    except ValidationError as error:
        return [(each["loc"], each["type"]) for each in error.errors()]


def test_a_gap_of_more_than_an_hour_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_GAP_SECONDS", "3601")
    with pytest.raises(ValidationError, match="less than or equal to 3600"):
        EnergySettings()


def test_nothing_else_is_listed() -> None:
    names = {name for name, _, _ in settings()}
    lines = (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line[1:].split("=")[0] for line in lines if line[1:2].isupper()} == names
