"""From the source of one file to the rows of the table `symbol`. Pure: no file is read here, no order is left open.

A file is one row for itself and one for each class and function in it, at any depth; a file that does not parse is one
row of the kind `error`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

Row: TypeAlias = tuple[str, str, str, int, int]
"""File, kind (module, class, function or error), qualified name, line, and length of the docstring."""

CREATE_TABLE: Final = "create table symbol (file text, kind text, name text, line integer, docstring integer)"
"""Without a key on purpose: a row that was written twice must be seen, not refused."""

INSERT: Final = "insert into symbol values (?, ?, ?, ?, ?)"
INSERT_POSTGRES: Final = "insert into symbol values (%s, %s, %s, %s, %s)"
SELECT: Final = "select file, kind, name, line, docstring from symbol"

_Definition: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS: Final = ("body", "handlers", "cases", "orelse", "finalbody")


def rows_of(file: str, source: bytes) -> list[Row]:
    """The rows of one file, in the order of the source.

    >>> rows_of("a.py", b"class A:\\n  def f(self):\\n    'Do.'\\n")
    [('a.py', 'module', 'a', 1, 0), ('a.py', 'class', 'A', 1, 0), ('a.py', 'function', 'A.f', 2, 3)]
    >>> rows_of("old.py", b"\\nprint 1\\n")
    [('old.py', 'error', 'SyntaxError', 2, 0)]
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [(file, "error", "SyntaxError", error.lineno or 0, 0)]
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, and sources nested beyond the parser
        return [(file, "error", type(error).__name__, 0, 0)]
    found = [(file, "module", _module_name(file), 1, _docstring_length(tree))]
    found.extend(_row(file, name, node) for name, node in _definitions(tree))
    return found


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every definition with its qualified name. A stack instead of recursion: sources may be nested deep."""
    waiting: list[tuple[str, ast.AST]] = [("", node) for node in reversed(tree.body)]
    while waiting:
        prefix, node = waiting.pop()
        inside = prefix
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            inside = f"{prefix}{node.name}." + ("" if isinstance(node, ast.ClassDef) else "<locals>.")
        waiting.extend((inside, child) for child in reversed([*_statements(node)]))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    # Definitions stand in blocks only, so expressions need no look; that is most of the tree.
    for block in _BLOCKS:
        children: Iterable[ast.AST] | ast.AST = getattr(node, block, ())
        if not isinstance(children, ast.AST):  # the body of a lambda or a conditional is an expression
            yield from children


def _row(file: str, name: str, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Row:
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    return (file, kind, name, node.lineno, _docstring_length(node))


def _docstring_length(node: _Definition) -> int:
    return len(ast.get_docstring(node, clean=False) or "")


def _module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
