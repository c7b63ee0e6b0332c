"""Whether the pair is whole, who acts, who suffers: read off the newest sample of each. Pure."""

from collections.abc import Mapping
from typing import Final

from broker_trio.ops.drill.catalogue import Drill, Step
from broker_trio.ops.drill.records import SILENT, Run, Sample

LEVEL_BYTES: Final = 1 << 20
SILENCE_MS: Final = 15_000


def why_not_whole(run: Run, now: Mapping[str, Sample], since_ms: int) -> str:
    """What is missing until both copies count and every nameserver shows it; empty: nothing.

    Only words said since then count.
    """
    for who in (*run.replicas, *run.nameservers):
        if who not in now or now[who].at_ms < since_ms:
            return f"no word of {who} yet"
        if now[who].state == SILENT:
            return f"{who} does not answer"
    return _pair(run, now) or _nameservers(run, now)


def _owner(run: Run, now: Mapping[str, Sample]) -> Sample | None:
    return next((now[who] for who in run.replicas if now[who].state == "owner"), None)


def _pair(run: Run, now: Mapping[str, Sample]) -> str:
    owner = _owner(run, now)
    if owner is None:
        states = ", ".join(f"{who} is {now[who].state}" for who in run.replicas)
        return f"nobody owns: {states}"
    if owner.members != len(run.replicas):
        return f"{owner.who} has the only copy that counts"
    for who in run.replicas:
        if who == owner.who:
            continue
        if now[who].state != "slave":
            return f"{who} is {now[who].state}"
        if owner.end - now[who].end > LEVEL_BYTES:
            return f"{who} is {owner.end - now[who].end} bytes behind"
    return ""


def _nameservers(run: Run, now: Mapping[str, Sample]) -> str:
    owner = _owner(run, now)
    assert owner is not None, "the pair was judged before"
    for who in run.nameservers:
        if now[who].forgot:
            return f"{who} has not learnt its records again"
        if now[who].shows != run.replicas[owner.who]:
            return f"{who} does not show {owner.who} as the master"
    return ""


def whom(step: Step, run: Run) -> list[str]:
    """Whom a step is about: replicas as NAME/ID, nameservers by their addresses."""
    return {
        "": [], "master": [run.master], "slave": [run.slave],
        "last": run.nameservers[-1:], "others": run.nameservers[1:], "all": run.nameservers,
    }[step.whom]  # fmt: skip


def beyond_plan(drill: Drill, run: Run, heard: Mapping[str, int], now_ms: int) -> str:
    """Harm that the plan does not name: somebody whom it does not hit is silent for long.

    `heard`: when each last said a word. Empty: there is none.
    """
    hit = {who for step in drill.faults for who in whom(step, run)}
    for who in (*run.replicas, *run.nameservers):
        silent_ms = now_ms - heard.get(who, now_ms)
        if who not in hit and silent_ms > SILENCE_MS:
            return f"{who} is silent for {silent_ms / 1_000:.0f} s, and is not to be hit"
    return ""


def acted(run: Run, before: Mapping[str, Sample], now: Mapping[str, Sample]) -> bool:
    """Whether somebody gave the pair another record: what a person's act looks like."""
    known = max((before[who].epoch for who in run.replicas if who in before), default=0)
    return any(now[who].epoch > known for who in run.replicas if who in now)
