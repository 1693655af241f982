"""Folders that we create, and the errors of those that we can't."""

import os
from pathlib import Path

from local_stack.errors import FolderError


def make_folder(folder: Path) -> Path:
    """Create the folder and what is missing above it; returns it as an absolute path.

    What root creates may be passed through by other accounts, whatever the umask: the database
    server has to reach its files. Folders that exist keep their modes.
    Raises FolderError if it can't be created or written.
    """
    folder = folder.expanduser().absolute()
    try:
        for missing in reversed([part for part in (folder, *folder.parents) if not part.exists()]):
            missing.mkdir(exist_ok=True)
            if os.geteuid() == 0:
                missing.chmod(0o711)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise FolderError(
            f"can't write to {folder} ({error.strerror}): choose another data folder"
        ) from error
    return folder
