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
    parts: dict[str, Any] = {"space": space.to_dict(), "objective": objective.to_dict()}
    return parts if problem is None else parts | {"problem": dict(problem)}


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
    differences = _spaces(was, now)
    theirs = Objective.from_dict(earlier["objective"])
    what = "space" if differences else "objective"
    if theirs != objective:
        differences.append(
            f"objective: {theirs.direction} {theirs.metric} there, {objective.direction} {objective.metric} now"
        )
    before, after = earlier.get("problem") or {}, problem or {}
    others = [part for part in {**before, **after} if before.get(part) != after.get(part)]
    if others:
        what = what if differences else "problem"
        differences.append(f"its trials are of other {', other '.join(others)}")
    raise UsageError(
        f"The study {name!r} searches another {what}. {'; '.join(differences)}.",
        where=uri,
        allowed="the space, the objective and the problem that it was begun with: "
        + " ".join(f"{n}={text}" for n, text in was.words().items()),
        do=f"use that space, or another file or name; {spelled('warm_start')} takes over what an earlier search "
        "learned",
    )


def _spaces(was: Space, now: Space) -> list[str]:
    words_before, words_after = was.words(), now.words()
    before, after = was.parameters | was.static, now.parameters | now.static
    differences = []
    for n in {**before, **after}:
        # 32 and "32" are typed alike: then only the exact form tells them apart.
        there, here = words_before.get(n, "absent"), words_after.get(n, "absent")
        if there != here:
            differences.append(f"{n}: {there} there, {here} now")
        elif before.get(n) != after.get(n) or repr(before.get(n)) != repr(after.get(n)):
            differences.append(f"{n}: {before.get(n)!r} there, {after.get(n)!r} now")
    if not differences and list(was.parameters) != list(now.parameters):
        differences.append(f"order: {', '.join(was.parameters)} there, {', '.join(now.parameters)} now")
    return differences
