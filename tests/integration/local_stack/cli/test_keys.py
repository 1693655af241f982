"""`wattlake keys`, and the commands that send a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.stack.stack_api_key import StackApiKey
from tests.harness.collector import Collector, running_collector
from tests.harness.command_line import (
    DONE,
    FAILED,
    SOME_REFUSED,
    WRONG_USAGE,
    failed_with,
    url_of,
    wattlake,
)
from tests.harness.heartbeats import device
from tests.harness.postgres import copied_database
from tests.harness.waiting import wait_for
from warehouse_sql.api_keys import create_key, list_keys, parse_key, revoke_key


@pytest.fixture(scope="module")
def collector(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """A collector of this module that wants keys."""
    folder = tmp_path_factory.mktemp("collector")
    with copied_database(postgres, migrated_template) as url:
        create_key(url, "reader of the tests", ["read"])
        with running_collector(url, folder, KEY_REFRESH_SECONDS="0.1") as running:
            yield running


def key_of(collector: Collector, *scopes: str) -> str:
    """A key that the collector knows."""
    key = create_key(collector.database_url, device("key"), scopes)
    headers = {"X-API-Key": key}
    wait_for(lambda: collector.http.get("/nothing", headers=headers).status_code != 401, 30)
    return key


@pytest.mark.parametrize("command", ["create", "list", "revoke"])
def test_each_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    done = wattlake(tmp_path, "keys", command, "--help")
    assert done.returncode == DONE
    assert f"Example: wattlake keys {command}" in " ".join(done.stdout.split())


def test_create_prints_the_key_alone_and_says_that_it_is_the_first(
    tmp_path: Path, database_url: str
) -> None:
    arguments = ("--scope", "ingest", "--device-prefix", "VEH-A", "--rate", "1000")
    done = wattlake(tmp_path, "keys", "create", "gate", *arguments, DATABASE_URL=database_url)
    assert done.returncode == DONE, done.stderr
    assert parse_key(done.stdout.removesuffix("\n"))
    assert "not shown again" in done.stderr
    assert "from now on everybody needs one" in done.stderr
    [key] = list_keys(database_url)
    assert (key.name, key.scopes, key.device_prefix) == ("gate", ["ingest"], "VEH-A")
    assert key.records_per_second == 1000
    second = wattlake(
        tmp_path, "keys", "create", "b", "--scope", "read", "--scope", "ingest",
        DATABASE_URL=database_url,
    )  # fmt: skip
    assert "from now on" not in second.stderr
    assert list_keys(database_url)[0].scopes == ["ingest", "read"]


def test_list_shows_what_a_key_may_and_never_its_secret(tmp_path: Path, database_url: str) -> None:
    done = wattlake(tmp_path, "keys", "list", DATABASE_URL=database_url)
    assert "there is no key: collectors serve only loopback addresses" in done.stdout
    texts = [
        create_key(database_url, "gate", ["ingest"], device_prefix="VEH-A"),
        create_key(database_url, "screen", ["read"], records_per_second=2.5),
        create_key(database_url, "old", ["admin"]),
    ]
    revoke_key(database_url, "old")
    done = wattlake(tmp_path, "keys", "list", DATABASE_URL=database_url)
    assert done.returncode == DONE
    gate, screen = (line.split() for line in done.stdout.splitlines()[1:])
    assert gate[0] == "gate"
    assert gate[2:6] == ["ingest", "VEH-A...", "no", "limit"]
    assert screen[2:5] == ["read", "all", "2.5"]
    everything = wattlake(tmp_path, "keys", "list", "--revoked", DATABASE_URL=database_url).stdout
    (old,) = (key for key in list_keys(database_url, revoked_too=True) if key.name == "old")
    assert f"{old.revoked_at:%Y-%m-%d}" in everything.partition("old")[2]
    for text in texts:
        _, identity, secret = text.split("_")
        assert identity in everything
        assert secret not in everything
        assert secret[:12] not in everything


def test_revoke_ends_a_key_and_says_when_none_is_left(tmp_path: Path, database_url: str) -> None:
    create_key(database_url, "gate", ["ingest"])
    done = wattlake(tmp_path, "keys", "revoke", "gate", DATABASE_URL=database_url)
    assert done.returncode == DONE
    assert "no key is left" in done.stderr
    assert list_keys(database_url) == []
    line = failed_with(wattlake(tmp_path, "keys", "revoke", "gate", DATABASE_URL=database_url), 1)
    assert "no living key is called 'gate'" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["x"],
        ["x", "--scope", "write"],
        ["x", "--scope", "read", "--rate", "0"],
        ["x", "--scope", "read", "--rate", "nan"],
        ["x", "--scope", "read", "--device-prefix", "V"],
        ["x", "--scope", "admin", "--device-prefix", "V"],
        ["", "--scope", "read"],
        ["taken", "--scope", "read"],
    ],
)
def test_a_key_that_makes_no_sense_is_wrong_usage(
    tmp_path: Path, database_url: str, arguments: list[str]
) -> None:
    create_key(database_url, "taken", ["read"])
    done = wattlake(tmp_path, "keys", "create", *arguments, DATABASE_URL=database_url)
    assert done.returncode == WRONG_USAGE, done.stderr
    assert done.stdout == ""
    assert len(list_keys(database_url)) == 1


@pytest.mark.parametrize("command", ["create x --scope read", "list", "revoke x"])
def test_what_is_wrong_with_the_database_is_one_line(
    tmp_path: Path, empty_database: str, command: str
) -> None:
    arguments = ("keys", *command.split())
    assert "DATABASE_URL is not set" in failed_with(wattlake(tmp_path, *arguments), WRONG_USAGE)
    done = wattlake(tmp_path, *arguments, DATABASE_URL="postgresql://u:p@127.0.0.1:1/d")
    assert "the database does not answer" in failed_with(done, FAILED)
    done = wattlake(tmp_path, *arguments, DATABASE_URL=empty_database)
    assert "run: wattlake migrate" in failed_with(done, FAILED)


CALLS = ("status", "efficiency", "links import links.csv", "replay meters.csv", "simulate")


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize("key", [None, "revoked", "nonsense"])
def test_a_command_that_lacks_a_key_says_where_it_belongs(
    tmp_path: Path, collector: Collector, command: str, key: str | None
) -> None:
    write_files(tmp_path)
    environment = {"WATTLAKE_URL": url_of(collector)}
    if key:
        environment["WATTLAKE_API_KEY"] = f"wl_{12 * '0'}_{64 * '0'}" if key == "revoked" else key
    done = wattlake(tmp_path, *command.split(), **environment)
    line = failed_with(done, WRONG_USAGE if key == "nonsense" else FAILED)
    told = {
        None: "wants an API key in WATTLAKE_API_KEY; `wattlake keys create` makes one",
        "revoked": "does not know the API key in WATTLAKE_API_KEY",
        "nonsense": "WATTLAKE_API_KEY is no API key",
    }
    assert told[key] in line


def test_the_commands_send_the_key_of_the_environment(tmp_path: Path, collector: Collector) -> None:
    write_files(tmp_path)
    url = url_of(collector)

    def run(command: str, *scopes: str) -> tuple[int, str]:
        key = key_of(collector, *scopes)
        done = wattlake(tmp_path, *command.split(), WATTLAKE_URL=url, WATTLAKE_API_KEY=f" {key}\n")
        return done.returncode, done.stdout + done.stderr

    assert run("status", "read")[0] == DONE
    assert "no hour was computed" in run("efficiency", "read")[1]
    code, told = run("replay meters.csv", "read")
    assert code == FAILED
    assert "lacks the scope 'ingest'" in told
    assert "1 accepted" in run("replay meters.csv", "ingest")[1]
    assert "lacks the scope 'admin'" in run("links import links.csv", "ingest", "read")[1]
    assert run("links import links.csv", "admin")[0] in {DONE, SOME_REFUSED}


def write_files(folder: Path) -> None:
    (folder / "meters.csv").write_text(
        "meter_id,timestamp,voltage\nM1,2026-03-01T12:00:00Z,230\n", encoding="utf-8"
    )
    (folder / "links.csv").write_text(
        "meter_id,vehicle_id,valid_from,valid_to\nM1,V1,2026-03-01T00:00:00Z,\n", encoding="utf-8"
    )


def test_up_makes_a_key_of_its_own_only_where_others_need_one(
    database_url: str, tmp_path: Path
) -> None:
    needless = StackApiKey(database_url, tmp_path)
    needless.make()
    assert needless.text is None
    assert list_keys(database_url) == []
    create_key(database_url, "gate", ["ingest"])
    own = StackApiKey(database_url, tmp_path)
    own.make()
    assert own.text is not None
    [mine] = [key for key in list_keys(database_url) if key.name != "gate"]
    assert str(tmp_path) in mine.name
    assert mine.scopes == ["ingest", "read"]
    assert own.revoke() is None
    assert [key.name for key in list_keys(database_url)] == ["gate"]


def test_the_key_of_an_up_that_was_killed_ends_with_the_next_start(
    database_url: str, tmp_path: Path
) -> None:
    create_key(database_url, "gate", ["ingest"])
    StackApiKey(database_url, tmp_path).make()
    StackApiKey(database_url, tmp_path / "another").make()
    revoke_key(database_url, "gate")
    StackApiKey(database_url, tmp_path).make()
    assert len(list_keys(database_url)) == 2  # another stack's, and so one of its own again
    StackApiKey(database_url, tmp_path / "another").revoke()
