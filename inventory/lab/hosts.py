#!/usr/bin/env python3
"""The inventory of the lab that is up: `ansible-playbook -i inventory/lab playbooks/site.yml`.

BROKER_TRIO_LAB names another lab than `lab`. Without a lab all groups are empty. It asks the
`broker-trio` of the path, or of the checkout's environment.
"""

import os  # noqa: TID251
import subprocess  # noqa: TID251
import sys
from pathlib import Path

environment = Path(__file__).parents[2] / ".venv" / "bin"
path = f"{environment}{os.pathsep}{os.environ.get('PATH', '')}"
command = ["broker-trio", "lab", "list", "--inventory"]
if "--host" in sys.argv:
    sys.stdout.write("{}\n")  # all variables of hosts are in the answer to --list
else:
    done = subprocess.run(command, env={**os.environ, "PATH": path}, check=False)  # noqa: S603
    sys.exit(done.returncode)
