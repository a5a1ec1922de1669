"""Both type checkers accept what `accept.py` says and refuse each marked line of `reject.py`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
_IGNORE = re.compile(r"  # type: ignore\[[a-z, -]+\]")


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_checker_accepts_accept_and_finds_every_ignore_of_reject_needed(checker: str) -> None:
    said = _run(checker, HERE / "accept.py", HERE / "reject.py")
    assert said.returncode == 0, f"{said.stdout}\n{said.stderr}"


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_without_its_ignores_the_checker_refuses_exactly_the_marked_lines(checker: str, tmp_path: Path) -> None:
    lines = (HERE / "reject.py").read_text("utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if _IGNORE.search(line)}
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(_IGNORE.sub("", line) for line in lines) + "\n", "utf-8")

    refused = _error_lines(checker, bare)

    assert len(marked) > 30
    assert refused == marked, _compared(marked, refused, lines)


def _error_lines(checker: str, path: Path) -> set[int]:
    if checker == "mypy":
        said = _run("mypy", "--output=json", path)
        reports = [json.loads(line) for line in said.stdout.splitlines()]
        return {report["line"] for report in reports if report["severity"] == "error"}
    said = _run("pyright", "--outputjson", path)
    reports = json.loads(said.stdout)["generalDiagnostics"]
    return {report["range"]["start"]["line"] + 1 for report in reports if report["severity"] == "error"}


def _run(checker: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", checker, *(str(each) for each in arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _compared(marked: set[int], refused: set[int], lines: list[str]) -> str:
    missed = [f"reject.py:{number}: no longer refused: {lines[number - 1].strip()}" for number in marked - refused]
    surprising = [f"reject.py:{number}: refused but not marked: {lines[number - 1]}" for number in refused - marked]
    return "\n" + "\n".join(sorted(missed) + sorted(surprising))
