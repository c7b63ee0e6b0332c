"""A recap that programs read, and the lock that lets one run at a time change a cluster.

    BROKER_TRIO_RECAP=FILE   {"playbook", "check", "seconds", "hosts": {host: {"ok", "changed", …}},
                              "changed": [[host, task], …], "failed": [[host, task, text], …]}

The lock is a file lock on this controller, one an inventory (and lab): the kernel frees it however the run
ends, so an interrupted run never leaves one behind. Workers give it away as they begin: one that outlives a run
that was killed outright may hang for ever, and would keep everybody out.

An inventory without any host ends the run with 2: Ansible itself would skip everything and call that success.
"""

import fcntl
import hashlib
import json
import os
import sys
import tempfile
import time

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: recap_json
type: notification
short_description: JSON recap and lock
description: Writes a recap for programs and keeps a second run away.
"""

READ_ONLY = {"preflight.yml", "status.yml", "health.yml", "support_bundle.yml"}
NOBODY = "no host in this inventory, so nothing was looked at: -i names another; inventory/lab asks for the lab in BROKER_TRIO_LAB"
SHOWN = 2000  # characters of a failure's text


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "recap_json"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.began, self.playbook, self.lock = time.monotonic(), "", None
        self.changed, self.failed = [], []

    def v2_playbook_on_start(self, playbook):
        self.playbook = self.playbook or os.path.basename(playbook._file_name)
        if (
            self.lock is None
            and self.playbook not in READ_ONLY
            and not context.CLIARGS.get("check")
        ):
            self._take_lock()

    def v2_playbook_on_play_start(self, play):
        if not play.get_variable_manager()._inventory.hosts:
            self._display.error(NOBODY)
            sys.stdout.flush()
            os._exit(2)

    def _take_lock(self):
        sources = sorted(os.path.abspath(each) for each in context.CLIARGS.get("inventory") or ())
        sources.append(os.environ.get("BROKER_TRIO_LAB", ""))  # inventory/lab is any lab's
        name = hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]
        path = os.path.join(tempfile.gettempdir(), "broker-trio-%d-%s.lock" % (os.getuid(), name))
        self.lock = open(path, "a+")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.seek(0)
            who = self.lock.read().strip()
            self._display.error("another run changes this cluster: %s; wait for its end" % who)
            sys.stdout.flush()
            os._exit(3)
        os.register_at_fork(after_in_child=self.lock.close)
        self.lock.truncate(0)
        self.lock.write("process %d, %s\n" % (os.getpid(), self.playbook))
        self.lock.flush()

    def _note(self, result, notes, *more):
        task = result.task if hasattr(result, "task") else result._task
        host = result.host if hasattr(result, "host") else result._host
        notes.append([host.get_name(), task.get_name(), *more])

    def _outcome(self, result):
        return result.result if hasattr(result, "result") else result._result

    def v2_runner_on_ok(self, result):
        if self._outcome(result).get("changed"):
            self._note(result, self.changed)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not ignore_errors:
            text = str(self._outcome(result).get("msg", ""))[:SHOWN]
            self._note(result, self.failed, text)

    def v2_runner_on_unreachable(self, result):
        if "skip_reason" in self._outcome(result):  # a playbook that goes on without that host
            return
        self._note(result, self.failed, "unreachable: %s" % self._outcome(result).get("msg", ""))

    def v2_playbook_on_stats(self, stats):
        path = os.environ.get("BROKER_TRIO_RECAP")
        if not path:
            return
        recap = {
            "playbook": self.playbook,
            "check": bool(context.CLIARGS.get("check")),
            "seconds": round(time.monotonic() - self.began, 2),
            "hosts": {host: stats.summarize(host) for host in sorted(stats.processed)},
            "changed": self.changed,
            "failed": self.failed,
        }
        with open(path, "w") as out:
            json.dump(recap, out, indent=1)
            out.write("\n")
