"""Every python block of README.md and docs runs as it is printed; every link leads somewhere.

The blocks of one file are one program, in order, in an empty folder. Functions named `test_...` are called as well. A
block after the comment `<!-- not run -->` is left out. The database that some pages name is an empty one on a server of
the tests.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
import trio
from attrs import frozen

from milepost.errors import StoreUnreachable
from milepost.stores.open import connect_store

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
POSTGRES_PAGE = ROOT / "docs" / "how-to" / "postgresql.md"
POSTGRES_URL = "postgresql://app@db.internal/shop"
NOT_RUN = "<!-- not run -->"
NOT_RUN_MAX = 2


@frozen
class Block:
    """One block of code, and the line of the page on which it begins."""

    code: str
    line: int


def _blocks(text: str) -> Iterator[Block]:
    lines = text.splitlines()
    inside: list[str] | None = None
    start = 0
    skipped = False
    for number, line in enumerate(lines, 1):
        if inside is None and line.strip() == "```python":
            before = [each.strip() for each in lines[: number - 1] if each.strip()]
            inside, start, skipped = [], number + 1, before[-1:] == [NOT_RUN]
        elif inside is not None and line.strip() == "```":
            if not skipped:
                yield Block("\n".join(inside), start)
            inside = None
        elif inside is not None:
            inside.append(line)


def _run(page: Path, blocks: list[Block], name: str) -> None:
    module = types.ModuleType(name)
    sys.modules[name] = module  # attrs looks up the names of annotations there
    try:
        for block in blocks:
            # Empty lines in front, so that a traceback names the line of the page.
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            exec(code, module.__dict__)
        for each in [value for key, value in vars(module).items() if key.startswith("test_")]:
            _call(each)
    finally:
        del sys.modules[name]


def _call(function: Any) -> None:
    if inspect.iscoroutinefunction(function):
        trio.run(function)
    else:
        function()


def _place(page: Path, error: BaseException) -> str:
    """File and line of the page where an example went wrong; a nursery wraps what is raised inside it."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return _place(page, group.exceptions[0])
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(page):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{page.relative_to(ROOT)}:{line}: {type(error).__name__}: {error}"


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if any(_blocks(page.read_text("utf-8")))], ids=_name)
def test_the_examples_of_a_page_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text("utf-8")
    if any(POSTGRES_URL in block.code for block in _blocks(text)):
        text = text.replace(POSTGRES_URL, request.getfixturevalue("postgres_url"))
    try:
        _run(page, list(_blocks(text)), f"example_{page.stem.replace('-', '_')}")
    except Exception as error:
        pytest.fail(_place(page, error))
    printed = capsys.readouterr().out
    for line in re.findall(r"It prints `([^`]+)`", text):
        assert line in printed, f"{_name(page)} says that it prints {line}, and it printed {printed}"


def test_the_program_of_the_readme_prints_the_same_on_postgresql(
    postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _run_on_postgres(postgres_url)
    assert "Success(result=Sum(total=55))" in capsys.readouterr().out


def test_the_rights_of_the_postgresql_page_suffice(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    (grants,) = re.findall(r"```sql\n(.*?)```", POSTGRES_PAGE.read_text("utf-8"), re.DOTALL)
    as_role = "postgresql://{}@" + postgres_url.partition("@")[2]
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        try:
            owner.execute(grants)
            with pytest.raises(StoreUnreachable, match="may not make milepost's tables"):
                connect_store(as_role.format("shop_app"))
            connect_store(as_role.format("shop_owner")).close()
            _run_on_postgres(as_role.format("shop_app"))
        finally:
            for role in ("shop_app", "shop_owner"):
                owner.execute(f"drop owned by {role} cascade".encode())
                owner.execute(f"drop role {role}".encode())
    assert "Success(result=Sum(total=55))" in capsys.readouterr().out


def _run_on_postgres(url: str) -> None:
    """The program of the README, with the one line changed as the page says."""
    text = (ROOT / "README.md").read_text("utf-8")
    removed, added = re.findall(r"^[-+](    .*)$", POSTGRES_PAGE.read_text("utf-8"), re.MULTILINE)
    assert text.count(removed) == 1
    _run(POSTGRES_PAGE, list(_blocks(text.replace(removed, added.replace(POSTGRES_URL, url)))), "example_on_postgres")


def test_hardly_any_example_is_left_out() -> None:
    assert sum(page.read_text("utf-8").count(NOT_RUN) for page in PAGES) <= NOT_RUN_MAX


def test_a_wrong_example_is_told_with_its_file_and_line() -> None:
    page = ROOT / "README.md"
    text = "Text.\n\n```python\nx = 1\n```\n\n```python\n\nassert x == 2, 'wrong'\n```\n"
    with pytest.raises(AssertionError) as caught:
        _run(page, list(_blocks(text)), "example_wrong")
    assert _place(page, caught.value) == "README.md:9: AssertionError: wrong"


def test_a_block_can_be_left_out() -> None:
    assert not list(_blocks(f"{NOT_RUN}\n\n```python\nraise ValueError\n```\n"))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{_name(page)} links to {missing}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name == "architecture.md"], ids=_name)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`([a-z_/]+(?:\.py|\.sql|/))`", page.read_text("utf-8"))
    missing = [each for each in named if not any((ROOT / base / each).exists() for base in ("", "src/milepost"))]
    assert not missing, f"{_name(page)} names {missing}"
