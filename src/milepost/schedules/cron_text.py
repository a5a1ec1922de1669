"""Cron expressions as text: what users write becomes the six fields that cronsim reads, or an error that names one.

cronsim is the judge of what a field may hold. This module takes what it does not know by name (`@daily`, `?`), and says
what is wrong with the rest.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cronsim import CronSim, CronSimError

from milepost.errors import ConfigurationError
from milepost.kinds import is_a

ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_CHARACTERS_MAX = 200
_SOME_DAY = datetime(2000, 1, 1)
_FIELDS: Final = {  # in their order, with what each may hold
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L (last day) or LW (last weekday)",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 (0 and 7 are Sunday), SUN to SAT, 5L (last Friday) or MON#1 (first Monday)",
}
_STEPS_MAX: Final = {"second": 60, "minute": 60, "hour": 24, "day-of-month": 31, "month": 12, "day-of-week": 7}
_DAY_FIELDS: Final = ("day-of-month", "day-of-week")


def checked_expression(expression: str) -> str:
    """The expression with single spaces; raises `ConfigurationError` that names the field for what is no cron."""
    if not is_a(expression, str):
        raise ConfigurationError(f"cron() takes text, as in cron('0 3 * * *'), got {expression!r}")
    text = " ".join(expression.split())
    if len(text) > _CHARACTERS_MAX:
        raise ConfigurationError(f"a cron expression has at most {_CHARACTERS_MAX} characters, this one {len(text)}")
    fields = _fields(text)
    try:
        next(CronSim(" ".join(fields.values()), _SOME_DAY))
    except StopIteration:
        raise ConfigurationError(f"the cron {text!r} never fires: no day of the next 50 years fits it") from None
    except CronSimError as error:
        raise ConfigurationError(_complaint(text, fields, str(error))) from None
    return text


def fields_of(expression: str) -> str:
    """The six fields of a checked expression, as cronsim reads them."""
    return " ".join(_fields(expression).values())


def _fields(text: str) -> dict[str, str]:
    """The six fields by their names, seconds first, each as cronsim reads it."""
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            raise ConfigurationError(f"the cron {text!r} is not known: use one of {', '.join(ALIASES)}, or five fields")
        text = ALIASES[text.lower()]
    parts = text.upper().split(" ") if text else []
    if len(parts) == 5:
        parts.insert(0, "0")
    if len(parts) != 6:
        raise ConfigurationError(
            f"the cron {text!r} has {len(parts)} fields: write five (minute, hour, day-of-month, month, day-of-week), "
            "or six with the second first"
        )
    fields = dict(zip(_FIELDS, parts, strict=True))
    for name, part in fields.items():
        _check_steps(text, name, part)
    for name in _DAY_FIELDS:
        if fields[name] == "?":  # the other one of the two says the day
            fields[name] = "*"
    # The last day of the week, as people write it; cronsim knows SUN as the first.
    fields["day-of-week"] = ",".join(
        f"{part[:-3]}7" if part.endswith("-SUN") else part for part in fields["day-of-week"].split(",")
    )
    return fields


def _check_steps(text: str, name: str, part: str) -> None:
    # A step beyond the end of its field is legal in cron, and never what was meant: */90 is once an hour.
    for each in part.split(","):
        step = each.partition("/")[2]
        if step.isdecimal() and int(step) > _STEPS_MAX[name]:
            raise ConfigurationError(
                f"the cron {text!r} has the step {step} in the {name} field, which has only {_STEPS_MAX[name]} values: "
                "use every(timedelta(...)) for longer intervals"
            )


def _complaint(text: str, fields: dict[str, str], said: str) -> str:
    name = said.removeprefix("Bad ")
    if name not in fields:  # cronsim names a field, always
        return f"the cron {text!r} is wrong: {said}"
    part = fields[name]
    more = ""
    if "W" in part and name == "day-of-month":
        more = "; the weekday nearest to a day, as in 15W, is not supported"
    elif "?" in part:
        more = "; ? stands alone, in day-of-month or day-of-week"
    elif "-" in part:
        more = "; a range goes upwards, 22-2 is 22-23,0-2"
    elif name == "day-of-month" and part.isdecimal():
        more = "; or no month of the expression has this day"
    return (
        f"the cron {text!r} has {part!r} in its {name} field: use {_FIELDS[name]}, each alone or as a list (a,b), a "
        f"range (a-b), a step (*/n, a-b/n) or *{more}"
    )
