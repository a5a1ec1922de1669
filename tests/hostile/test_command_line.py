"""Nonsense in every place of every command: one line of milepost's own, an exit code, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.cli import main

NONSENSE = ("", "\x1b[31m", "../x", "-1", "nan", "9" * 5_000, "{0.__class__}", "'; --", "os:system", "a\nb", "--")
COMMANDS = (
    ("db", "status", "--store"),
    ("db", "migrate", "--store"),
    ("db", "copy", "sqlite:///a.db"),
    ("executor", "list", "--store"),
    ("check", "--app", "a:b", "--store"),
    ("run", "--store", "sqlite:///t.db", "--app"),
    ("run", "--app", "a:b", "--store", "sqlite:///t.db", "--processes"),
    ("run", "--app", "a:b", "--store", "sqlite:///t.db", "--concurrency"),
    ("run", "--app", "a:b", "--store", "sqlite:///t.db", "--lease-seconds"),
    ("run", "--app", "a:b", "--store", "sqlite:///t.db", "--drain-seconds"),
    (),
)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]) or "none")
def test_nonsense_on_the_command_line_is_told_without_a_traceback(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["milepost"])
    for nonsense in NONSENSE:
        monkeypatch.setattr("sys.argv", ["milepost", *command, nonsense])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err, nonsense
        assert ended.value.code != 0 or not command or nonsense == "--", (nonsense, told)
        assert list(tmp_path.iterdir()) == [], nonsense
