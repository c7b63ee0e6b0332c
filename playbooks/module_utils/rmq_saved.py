"""A saved store: what is in its folder, and whether it still is what was written.

    manifest.json            everything below, with sizes and hashes; written last
    log/<20 digits>          pieces of the commit log, named by their first byte's offset
    config/*.json            topics, groups, offsets, delays
    about/                   for people: the instance's settings, what its pair said

The pieces touch each other from `begin` to `end`. What is derived from the log (queues, index) is
not saved, nor is the store's identity: whoever restores it is a new store.
"""

import hashlib
import json
import os

FORMAT = 1
MANIFEST = "manifest.json"
BLOCK = 1 << 20
MARKER = "restored.json"


def digest_of(path):
    """sha256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as content:
        for block in iter(lambda: content.read(BLOCK), b""):
            found.update(block)
    return found.hexdigest()


def read_manifest(folder):
    """The manifest and its own hash. Raises ValueError for one that is none of ours."""
    try:
        with open(os.path.join(folder, MANIFEST), "rb") as text:
            data = text.read()
        manifest = json.loads(data)
    except (OSError, ValueError) as error:
        raise ValueError("%s holds no finished backup: %s" % (folder, error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        words = (folder, manifest.get("format") if isinstance(manifest, dict) else None, FORMAT)
        raise ValueError("%s has format %s, this version reads %d" % words)
    return manifest, hashlib.sha256(data).hexdigest()


def problems_of(folder, manifest):
    """What is not as it was written; empty for a backup that is whole."""
    problems, at = [], manifest["begin"]
    for each in manifest["files"]:
        path = os.path.join(folder, each["path"])
        if os.path.isabs(each["path"]) or ".." in each["path"].split("/"):
            problems.append("%s is outside of the backup" % each["path"])
        elif not os.path.isfile(path):
            problems.append("%s is missing" % each["path"])
        elif os.path.getsize(path) != each["size"]:
            words = (each["path"], os.path.getsize(path), each["size"])
            problems.append("%s has %d bytes, %d were written" % words)
        elif digest_of(path) != each["sha256"]:
            problems.append("%s is not what was written (sha256)" % each["path"])
        if each["path"].startswith("log/"):
            if each["path"] != "log/%020d" % at:
                problems.append("%s follows on %d: a piece is missing" % (each["path"], at))
            at = int(each["path"][4:]) + each["size"]
    if at != manifest["end"]:
        problems.append("the log ends at %d, the manifest says %d" % (at, manifest["end"]))
    return problems


def sync(path):
    """A file's bytes, or a folder's names, are on disk after this."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
