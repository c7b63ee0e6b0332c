"""A Java virtual machine with the unmodified client in it, asked by lines.

    driver.ask(cluster, "send", "sync", topic, 10, tag="TagA")     waits for the answer
    job = driver.start(…); …; job.result(30)                       does not

Answers carry the number of their question, so a question that was given up spoils no later one.
"""

import contextlib
import json
import subprocess
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

READY_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 45.0
HEAP: Final = "384m"


class HasNameserver(Protocol):
    """Whatever a client can be pointed at."""

    @property
    def nameserver(self) -> str: ...


@dataclass
class ClientError(Exception):
    """The Java client threw. `code` is the broker's response code where it gave one."""

    kind: str
    text: str
    code: int | None

    def __str__(self) -> str:
        return f"{self.kind} (code {self.code}): {self.text}"


@dataclass
class Driver:
    """One virtual machine. `serialize` is how it writes headers: JSON or ROCKETMQ."""

    class_path: str
    folder: Path
    serialize: str = "JSON"
    _waiting: dict[int, "Future[Any]"] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._chat = (self.folder / f"{self.serialize}.log").open("ab")
        ready = self._waiting[0] = Future()
        self._process = subprocess.Popen(
            [
                "java", f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-Drocketmq.client.rebalance.waitInterval=1000",  # 20 s: the first look at %RETRY%
                f"-Duser.home={self.folder}", "-cp", self.class_path, "Scenarios", self.serialize,
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._chat, text=True,
            cwd=self.folder,  # commands of the admin tool leave files there
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready.result(READY_SECONDS)

    def start(self, cluster: HasNameserver, *words: object, **options: object) -> "Future[Any]":
        """Put the question; the answer will be a JSON value, or `ClientError` raised."""
        assert self._process.stdin is not None
        self._number += 1
        future = self._waiting[self._number] = Future()
        pairs = [f"{key}={value}" for key, value in options.items()]
        line = [str(self._number), f"namesrv={cluster.nameserver}", *map(str, words), *pairs]
        assert not any(" " in word or "\n" in word for word in line), line
        self._process.stdin.write(" ".join(line) + "\n")
        self._process.stdin.flush()
        return future

    def ask(self, cluster: HasNameserver, *words: object, **options: object) -> Any:
        """The answer, as a JSON value. Raises `ClientError`, or `TimeoutError` past 45 s."""
        return self.start(cluster, *words, **options).result(ANSWER_SECONDS)

    def close(self) -> None:
        """The end of its stdin is the end of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended before us
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._reader.join(10)
        self._process.stdout.close()
        self._chat.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith("@"):
                self._chat.write(line.encode())
                continue
            answer = json.loads(line[1:])
            future = self._waiting.pop(answer["id"])
            if "error" in answer:
                error = ClientError(answer["kind"], answer["error"], answer.get("code"))
                future.set_exception(error)
            else:
                future.set_result(answer["value"])
        for future in self._waiting.values():
            future.set_exception(RuntimeError(f"the driver ended; see {self._chat.name}"))
