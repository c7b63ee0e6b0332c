#!/usr/bin/python
"""Bring all files of a role about at once: user, folders, contents, and what must run after a change."""

DOCUMENTATION = r"""
module: rmq_files
short_description: User, folders and files of a role in one round trip
description:
  - Compares everything with what is wanted, changes only what differs, writes each file by a rename.
  - A command of I(apply) runs when one of its files is not what it ran with last, or when what it should
    have brought about does not hold. So a run that was interrupted in between is made good by the next.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would change.}
  diff_mode: {support: full, description: One difference a file and folder.}
options:
  user:
    description: System user with a group of the same name, to be there first.
    type: dict
    suboptions:
      name: {description: Name of both., type: str, required: true}
      home: {description: Its home, not created., type: path, required: true}
  folders:
    description: Folders, parents first.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The folder., type: path, required: true}
      owner: {description: User., type: str, default: root}
      group: {description: Group., type: str, default: root}
      mode: {description: Permissions in octal., type: str, default: '0755'}
  files:
    description: Files with all they hold.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The file., type: path, required: true}
      content: {description: What it holds., type: str, required: true}
      owner: {description: User., type: str, default: root}
      group: {description: Group., type: str, default: root}
      mode: {description: Permissions in octal., type: str, default: '0644'}
      validate:
        description:
          - Command that must accept the new file before it takes the place of the old; C(%s) is its path.
          - It has its final name there, in a folder of its own.
        type: str
        default: ''
  apply:
    description: Commands that make files take effect.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Names the note of what it ran with., type: str, required: true}
      files: {description: The files., type: list, elements: path, required: true}
      run: {description: Commands., type: list, elements: str, required: true}
      hashes: {description: sha256 of files that check mode has not written., type: dict, default: {}}
      holds: {description: Command that succeeds while it is in effect., type: str, default: ''}
      notes: {description: Folder of the notes., type: path, default: /etc/broker-trio/.applied}
"""

EXAMPLES = r"""
- name: Configure
  rmq_files:
    folders: [{path: /etc/broker-trio, group: broker-trio, mode: '0750'}]
    files:
      - {path: /etc/broker-trio/firewall.nft, content: 'table inet x {}', validate: nft --check --file %s}
"""

RETURN = r"""
paths:
  description: What was changed, or would be.
  returned: always
  type: list
applied:
  description: Which commands of I(apply) ran, or would.
  returned: always
  type: list
"""

import grp
import hashlib
import json
import os
import pwd
import shlex
import shutil
import stat

from ansible.module_utils.basic import AnsibleModule

SHOWN_CHARS = 800


class Bringer:
    """Collects differences; changes what differs unless it is only asked."""

    def __init__(self, module):
        self.module, self.dry = module, module.check_mode
        self.paths, self.diff, self.applied = [], [], []

    def note(self, path, before, after):
        self.paths.append(path)
        self.diff.append(
            {"before_header": path, "after_header": path, "before": before, "after": after}
        )

    def must(self, command):
        code, out, err = self.module.run_command(shlex.split(command))
        if code:
            text = (err or out).strip()[-SHOWN_CHARS:]
            self.fail("%s: exit code %d: %s" % (command, code, text))

    def fail(self, text):
        self.module.fail_json(msg=text, paths=self.paths, applied=self.applied)

    def user(self, wanted):
        """A system user and its group; what is there already stays as it is."""
        name = wanted["name"]
        try:
            grp.getgrnam(name)
        except KeyError:
            self.note("group " + name, "absent\n", "present\n")
            if not self.dry:
                self.must("groupadd --system " + shlex.quote(name))
        try:
            pwd.getpwnam(name)
        except KeyError:
            self.note("user " + name, "absent\n", "present\n")
            words = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
            words += ["--home-dir", wanted["home"], "--gid", name, name]
            if not self.dry:
                self.must(" ".join(shlex.quote(word) for word in words))

    def ids(self, wanted):
        """Numbers of owner and group; None where check mode has not made them yet."""
        try:
            return pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid
        except KeyError as error:
            if not self.dry:
                self.fail("%s of %s is not there: %s" % (error, wanted["path"], wanted))
            return None

    def folder(self, wanted):
        path, before = wanted["path"], access_of(wanted["path"])
        after = told(wanted)
        if before == after:
            return
        self.note(path + "/", before, after)
        if not self.dry:
            if not os.path.isdir(path):
                os.makedirs(path)
            self.permit(path, wanted)

    def permit(self, path, wanted):
        os.chown(path, *self.ids(wanted))
        os.chmod(path, int(wanted["mode"], 8))

    def file(self, wanted):
        path, content = wanted["path"], wanted["content"]
        before, right = read(path), access_of(path) == told(wanted)
        if before == content and right:
            return
        if before == content:
            self.note(path, access_of(path), told(wanted))
        else:
            self.note(path, before or "", content)
        self.ids(wanted)
        if self.dry:
            return
        place = os.path.join(os.path.dirname(path), ".%s.new" % os.path.basename(path))
        unfinished = os.path.join(place, os.path.basename(path))  # some judge a file by its name
        try:
            shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
            os.mkdir(place, 0o700)
        except OSError as error:
            self.fail("%s cannot be written: %s" % (path, error))
        try:
            with open(unfinished, "w") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            self.permit(unfinished, wanted)
            if wanted["validate"]:
                self.must(wanted["validate"].replace("%s", shlex.quote(unfinished)))
            os.replace(unfinished, path)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def apply(self, wanted):
        """Run what has not run since its files are what they are."""
        note = os.path.join(wanted["notes"], wanted["name"])
        now = {path: wanted["hashes"].get(path) or digest(path) for path in wanted["files"]}
        late = bool(set(self.paths) & set(wanted["files"])) or read(note) != json.dumps(now)
        if not late and wanted["holds"]:
            late = self.module.run_command(shlex.split(wanted["holds"]))[0] != 0
        if not late:
            return
        self.applied.append(wanted["name"])
        if self.dry:
            return
        for command in wanted["run"]:
            self.must(command)
        os.makedirs(wanted["notes"], mode=0o700, exist_ok=True)
        with open(note + ".part", "w") as out:
            out.write(json.dumps(now))
        os.replace(note + ".part", note)


def read(path):
    """A file's text; None where there is none."""
    try:
        with open(path) as text:
            return text.read()
    except OSError:
        return None
    except UnicodeDecodeError:
        return "(not text)\n"


def digest(path):
    content = read(path)
    return hashlib.sha256(content.encode()).hexdigest() if content is not None else ""


def access_of(path):
    """Owner, group and mode of what is there, as a line."""
    try:
        found = os.stat(path)
    except OSError:
        return "absent\n"
    try:
        names = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        names = str(found.st_uid), str(found.st_gid)
    return "%s:%s %04o\n" % (*names, stat.S_IMODE(found.st_mode))


def told(wanted):
    return "%s:%s %04o\n" % (wanted["owner"], wanted["group"], int(wanted["mode"], 8))


def options():
    access = {
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "path": {"type": "path", "required": True},
    }
    listed = {"type": "list", "elements": "dict", "default": []}
    return {
        "user": {
            "type": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "home": {"type": "path", "required": True},
            },
        },
        "folders": {
            **listed,
            "options": {**access, "mode": {"type": "str", "default": "0755"}},
        },
        "files": {
            **listed,
            "options": {
                **access,
                "mode": {"type": "str", "default": "0644"},
                "content": {"type": "str", "required": True},
                "validate": {"type": "str", "default": ""},
            },
        },
        "apply": {
            **listed,
            "options": {
                "name": {"type": "str", "required": True},
                "files": {"type": "list", "elements": "path", "required": True},
                "run": {"type": "list", "elements": "str", "required": True},
                "hashes": {"type": "dict", "default": {}},
                "holds": {"type": "str", "default": ""},
                "notes": {"type": "path", "default": "/etc/broker-trio/.applied"},
            },
        },
    }


def main():
    module = AnsibleModule(argument_spec=options(), supports_check_mode=True)
    params, bringer = module.params, Bringer(module)
    if params["user"]:
        bringer.user(params["user"])
    for folder in params["folders"]:
        bringer.folder(folder)
    for file in params["files"]:
        bringer.file(file)
    for each in params["apply"]:
        bringer.apply(each)
    module.exit_json(
        changed=bool(bringer.paths or bringer.applied),
        paths=bringer.paths,
        applied=bringer.applied,
        diff=bringer.diff,
    )


if __name__ == "__main__":
    main()
