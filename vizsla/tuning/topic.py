"""What a study is about: only trials of one problem may lie in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vizsla.errors import UsageError
from vizsla.files import sha256_json
from vizsla.parameters import spelled
from vizsla.tuning.objective import Objective
from vizsla.tuning.space import Space


def topic(space: Space, objective: Objective, problem: Mapping[str, str] | None) -> dict[str, Any]:
    """The space, the objective, and what tells the problem (data, backbone, script, ...) from others, by part."""
    found: dict[str, Any] = {"space": space.to_dict(), "objective": objective.to_dict()}
    return found if problem is None else found | {"problem": dict(problem)}


def check_topic(
    uri: str, name: str, earlier: dict[str, Any], space: Space, objective: Objective, problem: Mapping[str, str] | None
) -> None:
    """That a study found at ``uri`` is about the same.

    Raises
    ------
    UsageError
        When it is not; the message says what differs.
    """
    if sha256_json(earlier) == sha256_json(topic(space, objective, problem)):
        return
    was, now = Space.of(earlier["space"]), space
    found = _spaces(was, now)
    there = Objective.from_dict(earlier["objective"])
    what = "space" if found else "objective"
    if there != objective:
        found.append(f"objective: {there.direction} {there.metric} there, {objective.direction} {objective.metric} now")
    before, asked = earlier.get("problem") or {}, problem or {}
    others = [part for part in {**before, **asked} if before.get(part) != asked.get(part)]
    if others:
        what = what if found else "problem"
        found.append(f"its trials are of other {', other '.join(others)}")
    raise UsageError(
        f"The study {name!r} searches another {what}. {'; '.join(found)}.",
        where=uri,
        allowed="the space, the objective and the problem that it was begun with: "
        + " ".join(f"{n}={text}" for n, text in was.words().items()),
        do=f"use that space, or another file or name; {spelled('warm_start')} takes over what an earlier search "
        "learned",
    )


def _spaces(was: Space, now: Space) -> list[str]:
    kept, asked = was.words(), now.words()
    before, after = was.parameters | was.static, now.parameters | now.static
    found = []
    for n in {**before, **after}:
        # 32 and "32" are typed alike: then only the exact form tells them apart.
        there, here = kept.get(n, "absent"), asked.get(n, "absent")
        if there != here:
            found.append(f"{n}: {there} there, {here} now")
        elif before.get(n) != after.get(n) or repr(before.get(n)) != repr(after.get(n)):
            found.append(f"{n}: {before.get(n)!r} there, {after.get(n)!r} now")
    if not found and list(was.parameters) != list(now.parameters):
        found.append(f"order: {', '.join(was.parameters)} there, {', '.join(now.parameters)} now")
    return found
