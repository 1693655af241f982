"""Every link of a document leads somewhere, and the files and rooms that it names are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from local_stack.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = "ingestion_api|lake|warehouse_sql|pipelines|local_stack"
FOLDERS = rf"(?:{PACKAGES}|tests|benchmarks|docs|deploy)"
DOCUMENTS = sorted(
    [
        path
        for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md")
        for path in REPOSITORY.glob(pattern)
    ]
)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")
IN_REPOSITORY = re.compile(rf"`({FOLDERS}/[\w./-]*)`")
MENTION = re.compile(rf"\b{FOLDERS}/[\w/-]+\.(?:py|md|yaml|sql|svg|json)\b")


def named(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    broken = []
    for target, heading in LINK.findall(document.read_text(encoding="utf-8")):
        file = document.parent / target if target else document
        if not file.exists() or (heading and heading not in headings(file)):
            broken.append(f"{target}#{heading}" if heading else target)
    assert not broken


def headings(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    paths = [REPOSITORY / path for path in IN_REPOSITORY.findall(text)]
    assert not [str(path) for path in paths if not path.exists() and "00NN" not in path.name]


@pytest.mark.parametrize("package", PACKAGES.split("|"))
def test_the_readme_lists_the_rooms_of_a_package(package: str) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{package}/` \|.*\| (.+) \|$", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == rooms(package)


def test_the_table_of_the_command_line_has_every_command_and_no_other() -> None:
    text = (REPOSITORY / "docs/command-line.md").read_text(encoding="utf-8")
    cells = " ".join(re.findall(r"^\| (`.+?) \|", text, re.MULTILINE))
    listed = re.findall(
        r"`([a-z]+(?: [a-z]+)*)[^`]*`", cells.replace("`.venv/bin/wattlake ...`", "")
    )
    assert sorted(listed) == sorted(commands(app))


def commands(group: typer.Typer) -> Iterator[str]:
    """The commands of the command line, each with its groups before it."""
    for one in group.registered_commands:
        yield str(one.name or getattr(one.callback, "__name__", ""))
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from (f"{inner.name} {name}" for name in commands(inner.typer_instance))


def test_the_picture_shows_only_rooms_that_there_are() -> None:
    picture = (REPOSITORY / "docs/architecture.svg").read_text(encoding="utf-8")
    shown = " ".join(re.findall(r'class="inside"[^>]*>([^<]+)<', picture)).split()
    assert shown
    assert {room.rstrip("/") for room in shown} <= set().union(*map(rooms, PACKAGES.split("|")))


def rooms(package: str) -> set[str]:
    """The folders in a package that hold code."""
    folders = (path for path in (REPOSITORY / package).iterdir() if path.is_dir())
    return {path.name for path in folders if any(path.glob("*.py")) or any(path.glob("*.sql"))}


def test_every_file_that_a_comment_names_is_there() -> None:
    missing = {
        f"{file.relative_to(REPOSITORY)}: {mention}"
        for file in sources()
        for mention in MENTION.findall(file.read_text(encoding="utf-8"))
        if not (REPOSITORY / mention).exists()
    }
    assert not missing


def sources() -> Iterator[Path]:
    for folder in (*PACKAGES.split("|"), "tests", "benchmarks", "docs"):
        yield from (REPOSITORY / folder).rglob("*.py")
