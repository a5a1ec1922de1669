"""Whatever stored rows hold: reading and showing them imports, unpickles, runs and opens nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = r"""
import logging, sys, trio
logging.disable()
from contextlib import suppress
from milepost import *
from milepost.stores.open import connect_store
from milepost.stores.sqlite.rows import event_of, lease_of
from milepost.schedules.stored import *
from milepost.crash import Crash
from tests.hostile.damage import JSON, TEXTS, TORN
from tests.hostile.world import PAID, TASKS

FORBIDDEN = ("import", "exec", "compile", "os.", "socket.", "subprocess.", "pickle.", "marshal.", "open", "ctypes.")
NAMES = ("os.system", "builtins.eval", "subprocess:Popen", "__import__('os')", "!!python/object/apply:os.system",
         "cos\nsystem\n(S'id'\ntR.")
HOSTILE = [*JSON, *TORN, *TEXTS, *NAMES, *(f'{{"{key}": "{name.splitlines()[0]}"}}'
           for key in ("type", "kind", "__class__", "py/object", "$type", "_type") for name in NAMES)]
seen, watching = [], False

def audit(event, arguments):
    if watching and event.startswith(FORBIDDEN):
        seen.append(f"{event} {arguments!r:.200}")

def everything():
    read = 0
    for text in HOSTILE:
        for each in TASKS:
            for version in (0, 1, 2):
                with suppress(PayloadRefused):
                    each.decode(version, text, text)
                    read += 1
        str(Crash.from_json_text(text))
        with suppress(InvalidPayload):
            PAID.read(text)
        lease_of(("e", "h", 1, 2**62, -2**62, 0, 1, 1, text, text, text))
        repr(event_of((2**62, text, text, 1, text, text, text)))
        read += 4
    return read

sys.addaudithook(audit)
everything()  # once before, for what Python itself loads late
watching = True
read = everything()
watching = False
assert not seen, seen[:5]
watching = True
__import__("os"); compile("1", "<test>", "eval"); open("/dev/null").close()
watching = False
assert len(seen) >= 2, "the watcher sees nothing at all"
print(read)
"""


@pytest.mark.slow
def test_reading_and_showing_hostile_rows_never_imports_or_runs_or_opens() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 800
