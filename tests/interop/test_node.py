"""The published Node client sends and consumes."""

import json
import subprocess

from tests.interop import cache
from tests.interop.clusters import Cluster
from tests.interop.driver import Driver

COUNT = 20
SECONDS = 60.0


def test_node_sends_and_consumes(cluster: Cluster, driver: Driver, topic: str, group: str) -> None:
    """Each of its messages comes back to its own consumer, and a Java client reads them too."""
    modules = cache.node_modules()
    driver.ask(cluster, "mqadmin", "updateTopic", "-b", cluster.broker, "-t", topic)
    script = cache.HERE / "node" / "client.js"
    done = subprocess.run(
        ["node", str(script), cluster.nameserver, topic, str(COUNT)],
        env={"NODE_PATH": str(modules / "node_modules"), "PATH": "/usr/bin:/bin:/usr/local/bin"},
        cwd=modules, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    expected = sorted(f"node-{number}" for number in range(COUNT))
    assert [sent["status"] for sent in told["sent"]] == ["SEND_OK"] * COUNT
    assert told["got"] == expected
    messages = driver.ask(cluster, "pull", group, topic)
    assert sorted(message["body"] for message in messages) == expected
    assert {message["tags"] for message in messages} == {"TagA"}
