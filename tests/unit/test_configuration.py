"""Every setting stands in the documents; an empty variable is one that is not set."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from docs.configuration import SECTIONS, documents
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, LakeSettings
from local_stack.settings import ClientSettings
from pipelines.settings import PipelineSettings
from warehouse_sql.settings import settings_fault

DOCUMENTS = documents()
PACKAGES = tuple(SECTIONS.values())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_document_lists_every_setting_with_its_default_and_meaning(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    assert written == DOCUMENTS[path], f"{path.name} is stale: run `make docs`"


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


def test_no_secret_is_printed_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [name.upper() for name in CollectorSettings.model_fields if "secret" in name]
    for name in secrets:
        monkeypatch.setenv(name, "between us")
    assert {"ALERT_WEBHOOK_SECRET", "REPORT_WEBHOOK_SECRET"} <= {*secrets}
    assert "between us" not in repr(CollectorSettings())


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


@pytest.mark.parametrize(
    ("package", "name", "value", "said"),
    [
        (LakeSettings, "LAKE_STORAGE_OPTIONS", '{"key": "SECRET"', "must be JSON"),
        (LakeSettings, "LAKE_STORAGE_OPTIONS", '{"key": ["SECRET"]}', "valid string"),
        (EnergySettings, "CHARGER_CLASSES", "{household", "must be JSON"),
        (CollectorSettings, "ALERT_WEBHOOKS", "https://hooks.example/SECRET", "must be JSON"),
        (CollectorSettings, "ALERT_WEBHOOKS", '["hooks.example/SECRET"]', "match pattern"),
        (PipelineSettings, "RUN_FAILURE_WEBHOOK", "hooks.example/SECRET", "match pattern"),
    ],
)
def test_a_wrong_value_is_told_in_a_line_that_does_not_show_it(
    package: type[BaseSettings],
    name: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        package(_env_file=None)
    line = settings_fault(refused.value)
    assert line.startswith(f"{name}: ")
    assert said in line
    assert "SECRET" not in str(refused.value)
