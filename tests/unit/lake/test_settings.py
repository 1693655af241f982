"""LAKE_URI: a folder or a URL that the lake can use, and never a folder by mistake."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lake import Lake, LakeSettings
from warehouse_sql.settings import settings_fault


@pytest.fixture(autouse=True)
def no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "written",
    [
        *("s3:/bucket/lake", "s3:bucket/lake", "s3:///bucket/lake", "s3://"),
        *("S3://bucket/lake", "ftp://x/y", "https://bucket.s3.amazonaws.com/lake", "hdfs://n/lake"),
        *("file:/srv/lake", "file://srv/lake", "file:///", "file:lake", "/", '"s3://bucket/lake"'),
    ],
)
def test_a_url_that_cannot_be_used_is_told_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("LAKE_URI", written)
    with pytest.raises(ValidationError) as refused:
        LakeSettings()
    told = settings_fault(refused.value)
    assert told.startswith("LAKE_URI: ")
    assert "write s3://bucket/lake" in told


@pytest.mark.parametrize(
    "written",
    [
        *("s3://bucket/lake", "s3a://bucket", "gs://bucket/lake", "az://container/lake/"),
        *("azure://container/lake", "adl://container/lake"),
        *("abfs://container/lake", "abfss://container@account.dfs.core.windows.net/lake"),
    ],
)
def test_a_url_of_a_store_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("LAKE_URI", written)
    lake = Lake.from_settings(LakeSettings())
    assert (lake.uri, lake.local_folder) == (written.rstrip("/"), None)


@pytest.mark.parametrize(
    ("written", "folder"),
    [
        *(("data/lake", "data/lake"), (".", "."), ("../lake", "../lake"), ("a:b", "a:b")),
        *(("/srv/s3:/lake", "/srv/s3:/lake"), ("/srv/lake/", "/srv/lake")),
        ("file:///srv/lake", "/srv/lake"),
    ],
)
def test_a_folder_is_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str, folder: str
) -> None:
    monkeypatch.setenv("LAKE_URI", written)
    assert Lake.from_settings(LakeSettings()).local_folder == tmp_path / folder
