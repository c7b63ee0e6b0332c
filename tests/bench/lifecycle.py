"""Rows about starting: an empty store to its first accepted send, and a start after kill −9."""

import shutil
import statistics
import time

from tests.bench import peers


def first_send(contender, began):
    """Seconds from `began` until a message was accepted, probed by the wire and not by a JVM."""
    from tests.bench.probe import wait_accepts  # noqa: PLC0415

    wait_accepts(contender.nameserver)
    return time.monotonic() - began


def start_row(folder, rounds, say):
    """Empty store to first accepted send; ours starts a nameserver, a broker and `up` itself."""
    seconds = {"ours": [], "apache": []}
    for attempt in range(rounds):
        for name, start in (("ours", peers.start_ours), ("apache", peers.start_apache)):
            place = folder / f"start-{name}-{attempt}"
            began = time.monotonic()
            contender = start(place)
            try:
                seconds[name].append(first_send(contender, began))
            finally:
                contender.stop()
                shutil.rmtree(place)
            say(f"start: {name} {seconds[name][-1]:.2f} s")
    ours, apache = (round(statistics.median(seconds[name]), 2) for name in ("ours", "apache"))
    return {
        "row": "start, empty store, to first accepted send, s", "figure": "seconds", "ours": ours,
        "apache": apache, "ratio": round(apache / ours, 1), "must": "≤ 1 s", "reached": ours <= 1.0,
        "runs": seconds,
    }  # fmt: skip


def recovery_rows(folder, say, megabytes):
    """kill −9 with that much log, then start on the same folder until a send is accepted."""
    seconds = {}
    for name, start in (("ours", peers.start_ours), ("apache", peers.start_apache)):
        place = folder / f"recover-{name}"
        contender = start(place)
        try:
            peers.wait_route(contender)
            count = megabytes * (1 << 20) // 1_200
            peers.load(
                contender, "produce", topic="Big", threads=8, batch=32, size=1024, count=count
            )
            contender.kill()
        finally:
            contender.stop()
        began = time.monotonic()
        again = start(place)
        try:
            seconds[name] = first_send(again, began)
        finally:
            again.stop()
            shutil.rmtree(place)
        say(f"recovery of {megabytes} MiB: {name} {seconds[name]:.2f} s")
    ours, apache = round(seconds["ours"], 2), round(seconds["apache"], 2)
    return [
        {
            "row": f"start after kill −9 with {megabytes} MiB, s", "figure": "seconds",
            "ours": ours, "apache": apache, "ratio": round(apache / ours, 1), "must": "not slower",
            "reached": ours <= apache,
        }
    ]  # fmt: skip
