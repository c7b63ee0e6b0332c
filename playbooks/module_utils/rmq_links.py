"""The links that say which release runs, and which ran before.

What is installed must be on the disk before anything says that it is there: a host that lost its power half a
minute later would have names without contents, and a program that the kernel cannot run.
"""

import os


def on_disk(module, path):
    """All of the file system of `path` is written; fails with what `sync` said."""
    code, _, err = module.run_command(["sync", "--file-system", path])
    if code:
        module.fail_json(msg="sync --file-system %s: %s" % (path, err.strip()))


def link(path, target):
    """Switch a link in one step."""
    unfinished = path + ".part"
    if os.path.lexists(unfinished):
        os.unlink(unfinished)
    os.symlink(target, unfinished)
    os.replace(unfinished, path)


def current(root):
    """The release that `current` shows; empty where there is none."""
    path = os.path.join(root, "current")
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else ""


def installed(root, release):
    """The digest that was noted when the release was installed completely, else empty."""
    try:
        with open(os.path.join(root, release, ".installed")) as marker:
            return marker.read().strip()
    except OSError:
        return ""


def switch(module, root, release):
    """Show another release, and keep what was shown as `previous`; True where that is a change."""
    before = current(root)
    if before == release:
        return False
    if not module.check_mode:
        if not installed(root, release):
            module.fail_json(msg="%s is not installed completely" % os.path.join(root, release))
        if before:
            link(os.path.join(root, "previous"), before)
        link(os.path.join(root, "current"), release)
        on_disk(module, root)
    return True
