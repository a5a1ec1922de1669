"""How an exception is described, even one that resists."""

from __future__ import annotations

from milepost.crash import Crash, CrashKind


class _Odd(Exception):
    """An exception of a module, whose text is given to it."""


class _Mute(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def _raised(error: BaseException) -> Crash:
    try:
        raise error
    except BaseException as caught:
        return Crash.of(caught)


def test_a_crash_names_the_type_the_message_and_the_place() -> None:
    crash = _raised(ValueError("no such row"))
    assert (crash.kind, crash.message, crash.type_name) == (CrashKind.EXCEPTION, "no such row", "ValueError")
    assert "in _raised" in crash.traceback
    assert crash.traceback.endswith("ValueError: no such row\n")


def test_a_type_is_named_with_its_module() -> None:
    assert _raised(_Odd("x")).type_name == f"{__name__}._Odd"


def test_the_kind_is_what_the_caller_says() -> None:
    assert Crash.of(TimeoutError("late"), CrashKind.TIMEOUT).kind is CrashKind.TIMEOUT


def test_an_exception_without_a_text_is_still_described() -> None:
    crash = _raised(_Mute())
    assert crash.message == "<_Mute whose text cannot be shown: ValueError>"
    assert "_Mute" in crash.traceback


def test_no_database_is_troubled_by_what_is_kept() -> None:
    crash = _raised(_Odd("a\0b \ud800 é"))
    assert crash.message == "a\\0b \\ud800 é"
    for text in (crash.message, crash.traceback):
        assert "\0" not in text
        assert text.encode().decode() == text


def test_long_texts_are_cut_the_message_at_its_end_and_the_traceback_at_its_oldest_frames() -> None:
    crash = _raised(_Odd("x" * 100_000 + "end"))
    assert len(crash.message) == 4_096
    assert len(crash.traceback) == 16_384
    assert crash.traceback.endswith("end\n")


def test_a_group_and_a_cause_are_in_the_traceback() -> None:
    error = ExceptionGroup("several", [ValueError("first"), KeyError("second")])
    error.__cause__ = OSError("below")
    traceback = _raised(error).traceback
    assert all(part in traceback for part in ("first", "second", "below"))


def test_local_variables_are_not_kept() -> None:
    password = "hunter" + "2"
    assert password not in _raised(ValueError("wrong")).traceback
