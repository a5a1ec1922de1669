"""What operators say of queues: read, decide, write, while nobody claims and nobody else says anything.

So a change is whole, whoever else makes one, and once it is committed no claim goes by what was said before.
"""

from __future__ import annotations

import attrs

from milepost.lifecycle.queues import QueueChanges, QueueSettings, check_spilling
from milepost.stores.protocol import Session


def change_queue(session: Session, name: str, changes: QueueChanges) -> QueueSettings:
    """Change some of a queue's settings; gives them all. Raises `ConfigurationError` where tasks could not spill."""
    session.settings.lock()
    known = {each.name: each for each in session.settings.all()}
    after = changes.made_to(known.get(name) or QueueSettings(name=name))
    check_spilling(after, known)
    session.settings.put(after)
    return after


def pause_queue(session: Session, name: str, reason: str) -> QueueSettings:
    """Let nothing start in the queue from now on. One that is paused stays so since it was, for the new reason."""
    before = _locked(session, name)
    after = attrs.evolve(before, paused_at=before.paused_at or session.now(), paused_reason=reason)
    session.settings.put(after)
    return after


def resume_queue(session: Session, name: str) -> QueueSettings:
    """Let tasks of the queue start again."""
    after = attrs.evolve(_locked(session, name), paused_at=None, paused_reason="")
    session.settings.put(after)
    return after


def _locked(session: Session, name: str) -> QueueSettings:
    session.settings.lock()
    return session.settings.get([name]).get(name) or QueueSettings(name=name)
