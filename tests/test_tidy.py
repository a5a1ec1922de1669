"""House rules that no linter knows. Each complaint names the file, the line and the fix; each rule is seen to bite."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parent.parent
Rule: TypeAlias = Callable[[str, str], Iterator[str]]
"""Takes a path, relative to the root, and the file's text; gives complaints."""

MODULE_LINES_MAX = 400
SESSION_LINES_MAX = 500  # a driver's session is one method for each verb, with the SQL in files
FUNCTION_LINES_MAX = 50

BANNED_CALLS = {
    "datetime.now": "take a Clock, or the moment itself, as an argument (milepost.clock)",
    "datetime.utcnow": "it is naive; take a Clock as an argument (milepost.clock)",
    "datetime.today": "it is naive; take a Clock as an argument (milepost.clock)",
    "date.today": "take a Clock as an argument (milepost.clock)",
    "time.time": "take a Clock as an argument (milepost.clock)",
    "time.time_ns": "take a Clock as an argument (milepost.clock)",
    "time.sleep": "wait for what has to happen, with a bound: an event, a condition, trio.sleep",
    "eval": "no stored or configured text is ever run",
    "exec": "no stored or configured text is ever run",
}
BANNED_IMPORTS = {
    "marshal": "payloads are canonical JSON (milepost.codec)",
    "pickle": "payloads are canonical JSON (milepost.codec)",
    "shelve": "payloads are canonical JSON (milepost.codec)",
    "yaml": "payloads are canonical JSON (milepost.codec)",
}
JUSTIFIED = {
    ("src/milepost/clock.py", "datetime.now"): "the one place that reads the wall clock",
    ("src/milepost/stores/sqlite/patience.py", "time.sleep"): "SQLite cannot wake who waits for another process's lock",
    ("src/milepost/stores/postgres/worker.py", "time.sleep"): "nobody tells when the others on the same rows are done",
}
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
REGISTRIES = re.compile(
    "|".join(["py" + r"pi\.org", "python" + "hosted", r"registry\." + "npm", "(extra-)?index" + "-url"])
)
TEXT_SUFFIXES = {".cfg", ".css", ".html", ".ini", ".js", ".json", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".yml"}


def modules_are_short(path: str, text: str) -> Iterator[str]:
    lines, limit = len(text.splitlines()), MODULE_LINES_MAX
    if path.startswith("src/milepost/stores/") and path.endswith("/session.py"):
        limit = SESSION_LINES_MAX
    if lines > limit:
        yield f"{path}:{limit + 1}: {lines} lines, the limit is {limit}: give one of its ideas a module of its own"


def functions_are_short(path: str, text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
            if lines > FUNCTION_LINES_MAX:
                yield (
                    f"{path}:{node.lineno}: {node.name}() has {lines} lines without its docstring, the limit is "
                    f"{FUNCTION_LINES_MAX}: name one of its steps and call it"
                )


def modules_and_public_names_are_documented(path: str, text: str) -> Iterator[str]:
    tree = ast.parse(text)
    if ast.get_docstring(tree) is None:
        yield f"{path}:1: no docstring: say what comes in, what goes out, and what this module must not do"
    yield from _undocumented(path, tree, "")


def calls_are_allowed(path: str, text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=function):
                # The last two names tell `datetime.datetime.now` too.
                name = ".".join(ast.unparse(function).split(".")[-2:])
                if name in BANNED_CALLS and (path, name) not in JUSTIFIED:
                    yield f"{path}:{node.lineno}: {name}() is not used here: {BANNED_CALLS[name]}"
            case ast.ImportFrom(module="time", names=names):
                for each in names:
                    if f"time.{each.name}" in BANNED_CALLS and (path, f"time.{each.name}") not in JUSTIFIED:
                        yield f"{path}:{node.lineno}: {each.name} of time: {BANNED_CALLS[f'time.{each.name}']}"
            case _:
                pass


def imports_are_allowed(path: str, text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                imported = [each.name for each in names]
            case ast.ImportFrom(module=str(module), level=0):
                imported = [module]
            case _:
                continue
        for name in imported:
            if (package := name.partition(".")[0]) in BANNED_IMPORTS:
                yield f"{path}:{node.lineno}: {package} is not used here: {BANNED_IMPORTS[package]}"


def nothing_is_a_stub(path: str, text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError"))):
                yield f"{path}:{node.lineno}: a stub: build it, make it a Protocol member, or leave it out"
            case _:
                pass


def nothing_is_marked_unfinished(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := UNFINISHED.search(line):
            yield f"{path}:{number}: {found.group()}: do it now, or say in the documentation what is not supported"


def no_registry_is_named(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := REGISTRIES.search(line):
            yield f"{path}:{number}: {found.group()!r}: where packages come from is the user's setting, take it out"


def changelog_has_its_form(path: str, text: str) -> Iterator[str]:
    lines = text.splitlines()
    if lines[:1] != ["# Changelog"]:
        yield f"{path}:1: begin with '# Changelog'"
    versions = [(number, line) for number, line in enumerate(lines, 1) if line.startswith("## ")]
    if not versions or versions[0][1] != "## Unreleased":
        yield f"{path}:{versions[0][0] if versions else 1}: the first version is '## Unreleased'"
    for number, line in versions[1:]:
        if not re.fullmatch(r"## \d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", line):
            yield f"{path}:{number}: write {line!r} as '## 1.2.3 - 2026-11-30'"
    kinds = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    for number, line in enumerate(lines, 1):
        if line.startswith("### ") and line[4:] not in kinds:
            yield f"{path}:{number}: write {line!r} as one of {', '.join(kinds)}"
        if line.startswith("### ") and not any(each.startswith("- ") for each in lines[number : number + 2]):
            yield f"{path}:{number}: put a '- ' paragraph under {line!r}, or take it out"
        if len(line) > 120:
            yield f"{path}:{number}: {len(line)} characters, wrap at 120"


SRC_RULES: list[Rule] = [
    modules_are_short,
    functions_are_short,
    modules_and_public_names_are_documented,
    calls_are_allowed,
    imports_are_allowed,
    nothing_is_a_stub,
]
TEXT_RULES: list[Rule] = [nothing_is_marked_unfinished, no_registry_is_named]

BAD_SAMPLES: list[tuple[Rule, str, str]] = [
    (modules_are_short, "src/milepost/a.py", "x = 1\n" * 401),
    (modules_are_short, "src/milepost/stores/sqlite/session.py", "x = 1\n" * 501),
    (functions_are_short, "a.py", "def f() -> None:\n    '''Doc.'''\n" + "    x = 1\n" * 50),
    (modules_and_public_names_are_documented, "a.py", "x = 1\n"),
    (modules_and_public_names_are_documented, "a.py", "'''Doc.'''\ndef f() -> None: ...\n"),
    (modules_and_public_names_are_documented, "a.py", "'''Doc.'''\nclass A: ...\n"),
    (modules_and_public_names_are_documented, "a.py", "'''Doc.'''\nclass A:\n  '''A.'''\n  def f(self): ...\n"),
    (modules_and_public_names_are_documented, "a.py", "'''Doc.'''\nif x:\n  async def f(): ...\n"),
    (calls_are_allowed, "a.py", "datetime.now(UTC)\n"),
    (calls_are_allowed, "a.py", "datetime.datetime.now(UTC)\n"),
    (calls_are_allowed, "a.py", "time.sleep(1)\n"),
    (calls_are_allowed, "a.py", "from time import sleep\n"),
    (calls_are_allowed, "a.py", "eval('1')\n"),
    (imports_are_allowed, "a.py", "import pickle\n"),
    (imports_are_allowed, "a.py", "from yaml.loader import Loader\n"),
    (nothing_is_a_stub, "a.py", "def f() -> int:\n    raise NotImplementedError\n"),
    (nothing_is_a_stub, "a.py", "def f() -> int:\n    raise NotImplementedError('later')\n"),
    (nothing_is_marked_unfinished, "a.py", "x = 1  # " + "TO" + "DO: more\n"),
    (no_registry_is_named, "a.md", "see https://" + "py" + "pi.org\n"),
    (changelog_has_its_form, "CHANGELOG.md", "# Changelog\n\n## 1.0\n\n### Added\n\n- x\n"),
    (changelog_has_its_form, "CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n### News\n\n- x\n"),
    (changelog_has_its_form, "CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n### Added\n\n### Fixed\n\n- x\n"),
]


@pytest.mark.parametrize("rule", SRC_RULES, ids=lambda rule: rule.__name__)
def test_source_keeps_the_rule(rule: Rule) -> None:
    _assert_none(rule, sorted((ROOT / "src").rglob("*.py")))


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_every_text_keeps_the_rule(rule: Rule) -> None:
    _assert_none(rule, _texts())


def test_tests_do_not_sleep() -> None:
    tests = [path for path in _texts() if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"]
    complaints = [
        complaint
        for path in tests
        for complaint in calls_are_allowed(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        if "sleep" in complaint
    ]
    assert not complaints, "\n" + "\n".join(complaints)


def test_the_changelog_has_its_form() -> None:
    _assert_none(changelog_has_its_form, [ROOT / "CHANGELOG.md"])


def test_every_exception_from_the_rules_is_still_needed() -> None:
    for (path, name), reason in JUSTIFIED.items():
        assert name.rpartition(".")[2] + "(" in (ROOT / path).read_text("utf-8"), (
            f"{path} no longer calls {name}: take it out of JUSTIFIED ({reason})"
        )


@pytest.mark.parametrize(("rule", "path", "text"), BAD_SAMPLES)
def test_the_rule_bites(rule: Rule, path: str, text: str) -> None:
    complaints = list(rule(path, text))
    assert complaints
    assert all(
        re.match(re.escape(path) + r":\d+: .+: .+|" + re.escape(path) + r":\d+: .+", each) for each in complaints
    )


def _assert_none(rule: Rule, paths: list[Path]) -> None:
    complaints = [
        complaint for path in paths for complaint in rule(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]
    assert not complaints, "\n" + "\n".join(complaints)


def _texts() -> list[Path]:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and (path.name == ".ci" or path.name[0] != ".")]
    inside = [path for folder in folders for path in folder.rglob("*")]
    return sorted(
        path
        for path in [*ROOT.iterdir(), *inside]
        if path.is_file() and (path.suffix in TEXT_SUFFIXES or path.name in ("Makefile", "run", "LICENSE"))
    )


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def _undocumented(path: str, parent: ast.AST, within: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                excused = name.startswith("_") or _is_described_elsewhere(path, node, isinstance(parent, ast.ClassDef))
                if ast.get_docstring(node) is None and not excused:
                    yield f"{path}:{node.lineno}: {within}{name}() has no docstring: one sentence, then its promises"
            case ast.ClassDef(name=name) if not name.startswith("_"):
                if ast.get_docstring(node) is None and not _has_documented_twin(parent, node):
                    yield f"{path}:{node.lineno}: {within}{name} has no docstring: one sentence, then its promises"
                yield from _undocumented(path, node, f"{within}{name}.")
            case ast.If() | ast.Try() | ast.With():
                yield from _undocumented(path, node, within)
            case _:
                pass


def _is_described_elsewhere(path: str, node: ast.FunctionDef | ast.AsyncFunctionDef, is_method: bool) -> bool:
    """Overloads and setters by the function itself, a driver's verb by its protocol, a promise by its own name."""
    if any(ast.unparse(each).endswith(("overload", ".setter", ".deleter")) for each in node.decorator_list):
        return True
    if path.startswith("src/milepost/testing/conformance/") and not is_method:
        return True
    return is_method and node.name in _documented_protocol_members()


@cache
def _documented_protocol_members() -> frozenset[str]:
    classes = [
        node
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases)
    ]
    return frozenset(
        each.name
        for node in classes
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(each) is not None
    )


def _has_documented_twin(parent: ast.AST, node: ast.ClassDef) -> bool:
    """Whether the other branch of the same `if` defines it with a docstring, as under TYPE_CHECKING."""
    return isinstance(parent, ast.If) and any(
        isinstance(each, ast.ClassDef) and each.name == node.name and ast.get_docstring(each) is not None
        for each in [*parent.body, *parent.orelse]
    )
