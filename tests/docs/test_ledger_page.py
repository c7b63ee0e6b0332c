"""docs/ledger.md, word for word: its commands run against a real cluster, one after the other."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/ledger.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


@pytest.mark.slow
def test_every_command_of_the_page_works(tmp_path):
    """Each ends with 0 and prints something; the check says that nothing is lost."""
    up = [
        sys.executable, "-m", "broker_trio", "up", "--ephemeral", "--json",
        "--nameserver-port", "0", "--broker-port", "0",
    ]  # fmt: skip
    assert len(COMMANDS) == 7
    with subprocess.Popen(up, stdout=subprocess.PIPE) as cluster:
        try:
            assert cluster.stdout is not None
            address = re.search(rb'"nameservers":\["([^"]+)"', cluster.stdout.readline())[1]
            where = os.environ | {"BROKER_TRIO_NAMESERVER": address.decode()}
            for command in COMMANDS:
                words = [sys.executable, "-m", "broker_trio", *command.split()[1:]]
                done = subprocess.run(
                    words, cwd=tmp_path, env=where, timeout=240,
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
                assert done.stdout
                if "check" in command:
                    assert done.stdout.rstrip().endswith("PASS")
        finally:
            cluster.send_signal(signal.SIGTERM)
            cluster.communicate(timeout=120)
    assert cluster.returncode == 0
