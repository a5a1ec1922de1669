"""Every test that docs/explanation/compared.md names exists, and each row of its tables names one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "compared.md"
_ROW = re.compile(r"^\|(?P<problem>[^|]+)\|(?P<here>[^|]+)\|(?P<test>[^|]+)\|$", re.MULTILINE)


def rows() -> list[tuple[str, str]]:
    """The weakness and the test of every row but the headings."""
    found = [(match["problem"].strip(), match["test"].strip()) for match in _ROW.finditer(PAGE.read_text("utf-8"))]
    return [row for row in found if row[1] != "test" and not row[1].startswith("---")]


def functions_in(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)}


@pytest.mark.parametrize(("problem", "test"), rows(), ids=[problem for problem, _ in rows()])
def test_a_weakness_names_a_test_that_exists(problem: str, test: str) -> None:
    path, _, name = test.strip("`").partition("::")
    assert (ROOT / path).exists(), f"{problem} {path} does not exist"
    assert not name or name in functions_in(ROOT / path), f"{problem} {path} has no test {name}"


def test_there_is_a_row_for_each_weakness_that_was_collected() -> None:
    assert len(rows()) >= 44
