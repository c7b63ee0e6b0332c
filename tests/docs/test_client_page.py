"""docs/client.md, word for word, on both event loops: programs whole, other blocks inside a client.

A block that begins with a file name is a program of its own. The others of a section run one after
the other in one function with `mq`, as the page says; `await` stands in them as it is.
"""

import ast
import re
import traceback
from functools import partial
from inspect import CO_COROUTINE
from pathlib import Path
from types import CodeType
from typing import Any

import anyio
import pytest

from broker_trio import connect
from broker_trio.testing import ThreadedRocketMQ

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
URL = "rocketmq://localhost:9876"
SECTIONS = {
    text.partition("\n")[0].strip(): re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for text in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)
}
EXAMPLES = {name: blocks for name, blocks in SECTIONS.items() if blocks}
WAITS = ("In order", "Again later, or never")  # a second, for a retry


def compiled(block: str) -> CodeType:
    """With `await` allowed outside of functions, as in a notebook."""
    return compile(block, "client.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def fragments(blocks: list[str], url: str) -> None:
    """Each in turn, with the names of those before it."""
    async with connect(url) as mq:
        names: dict[str, Any] = {"mq": mq}
        for block in blocks:
            code = compiled(block)
            with anyio.fail_after(90):
                value = eval(code, names)
                if code.co_flags & CO_COROUTINE:
                    await value


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize(
    "section",
    [pytest.param(name, marks=pytest.mark.slow if name in WAITS else ()) for name in EXAMPLES],
)
def test_the_blocks_of_a_section_run(
    rocketmq_threaded: ThreadedRocketMQ, section: str, backend: str
) -> None:
    """As they stand there, but for the cluster's address."""
    blocks = EXAMPLES[section]
    programs = [block for block in blocks if re.match(r"# \w+\.py\n", block)]
    for program in programs:
        text = program.replace(URL, rocketmq_threaded.url)
        if backend == "asyncio":
            text = text.replace("import trio\n", "import asyncio\n")
            text = text.replace("trio.run(main)", "asyncio.run(main())")
        exec(text, {"__name__": "__main__"})
    rest = [block for block in blocks if block not in programs]
    try:
        anyio.run(partial(fragments, rest, rocketmq_threaded.url), backend=backend)
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno or 0
        raise AssertionError(f"line {line} of a block of {section!r}") from error


def test_every_block_is_an_example() -> None:
    """No code stands on the page that no test runs."""
    assert sum(map(len, EXAMPLES.values())) == PAGE.count("```") / 2
