"""Docstrings say what a thing is or does: a noun or an imperative first, and no riddle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = (
    "benchmarks",
    "docs",
    "ingestion_api",
    "lake",
    "local_stack",
    "pipelines",
    "warehouse_sql",
)
RIDDLES = ("As", "How", "Of", "That", "What", "Whether", "Where", "Which", "Who", "Whoever")

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_docstrings(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Name and docstring of a module, and of what is public in it."""
    yield "the module", ast.get_docstring(module) or ""
    yield from _docstrings_in(module)


def _docstrings_in(owner: Documented) -> Iterator[tuple[str, str]]:
    for node in owner.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("_"):
                continue
            yield node.name, ast.get_docstring(node) or ""
            if isinstance(node, ast.ClassDef):
                yield from _docstrings_in(node)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_docstring_begins_with_a_noun_or_an_imperative(package: str) -> None:
    begun_otherwise = [
        f"{file.relative_to(REPOSITORY)}: {name}: {text.splitlines()[0]}"
        for file in sorted((REPOSITORY / package).rglob("*.py"))
        for name, text in public_docstrings(ast.parse(file.read_text(encoding="utf-8")))
        if text.split(maxsplit=1)[:1] and text.split(maxsplit=1)[0].rstrip(",:") in RIDDLES
    ]
    assert not begun_otherwise


def test_every_module_says_in_a_line_what_lies_there() -> None:
    silent = [
        str(file.relative_to(REPOSITORY))
        for package in PACKAGES
        for file in (REPOSITORY / package).rglob("*.py")
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent
