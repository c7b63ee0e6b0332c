"""Runs the installed `broker-trio … --json` on the target: the only client that modules have.

Exit codes are the command line's own: 0 ok, 1 failed, 2 usage, 3 refused, 4 unreachable, 5 unknown.
"""

import json
import os

PROGRAM = "/opt/broker-trio/current/bin/broker-trio"
MEANINGS = {
    1: "failed",
    2: "called wrongly",
    3: "refused by a guard, nothing was done",
    4: "reached nobody, nothing was done",
    5: "asked, and the outcome is unknown",
}
OPTIONS = {
    "nameservers": {"type": "list", "elements": "str", "required": True},
    "program": {"type": "str", "default": PROGRAM},
}


class Answer:
    """What a command said: its exit code, its JSON (None where there was none), its error text."""

    def __init__(self, code, data, text):
        self.code, self.data, self.text = code, data, text

    @property
    def meaning(self):
        return MEANINGS.get(self.code, "ended by exit code %s" % self.code)


class Cli:
    """The installed program, asked about one cluster."""

    def __init__(self, module):
        self.module = module
        self.program = module.params["program"]
        self.answers = {}

    @property
    def is_installed(self):
        return os.access(self.program, os.X_OK)

    def ask(self, *words, **options):
        """Run a command. `nameservers` are those of the module, unless given."""
        nameservers = options.get("nameservers") or self.module.params["nameservers"]
        command = [self.program, *words, "-n", ";".join(nameservers), "--json"]
        code, out, err = self.module.run_command(command)
        return Answer(code, parsed(out), err.strip() or out.strip()[-500:])

    def ask_once(self, *words, **options):
        """The same, answered from memory until `forget`: many who wait ask the same things."""
        key = words, tuple(options.get("nameservers", ()))
        if key not in self.answers:
            self.answers[key] = self.ask(*words, **options)
        return self.answers[key]

    def forget(self):
        self.answers.clear()

    def must(self, *words, **options):
        """The same; anything but 0 ends the module with the program's own words."""
        answer = self.ask(*words, **options)
        if answer.code:
            text = "broker-trio %s: %s: %s" % (" ".join(words), answer.meaning, answer.text)
            self.module.fail_json(msg=text, rc=answer.code, answer=answer.data)
        return answer.data


def parsed(text):
    """The first document on stdout; None where there is none."""
    for line in text.splitlines():
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None
