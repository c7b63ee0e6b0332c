"""One host, before it is one: mounts its disks, writes what is its own, becomes systemd-nspawn.

Run by file name with Python's own library alone, in a mount namespace of its own within the lab:

    holder.py
      └─ host.py, then systemd-nspawn     a mount namespace with this host's disks alone
           └─ systemd                     what the host sees

Not one namespace for all, because nspawn keeps a copy of what was mounted when it started: with
shared ones a disk stays in use, and in memory, until every host that booted after it is off too,
and no power cut would lose a page. So there is nothing to unmount either: a host's disks are free
when its last process is gone.

    host.py SPEC --machine=NAME      SPEC is JSON; the second word is how `list` finds it
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def main(spec: dict[str, object]) -> None:
    """Never returns: ends in nspawn, or with what failed on stderr, which is the console's log."""
    for group in strings(spec["groups"]):
        Path(group).write_text("0")  # the writer itself
    place, base = Path(str(spec["place"])), str(spec["base"])
    images = strings(spec["images"])
    mounted = [place / "disk", *(place / f"volume{number}" for number in range(len(images) - 1))]
    for image, folder in zip(images, mounted, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        mount(["-o", "loop,noinit_itable", image], folder)
    upper, work, root = place / "disk/upper", place / "disk/work", place / "root"
    for folder in (upper, work, root):
        folder.mkdir(exist_ok=True)
    layers = f"lowerdir={base},upperdir={upper},workdir={work}"
    mount(["-t", "overlay", "overlay", "-o", layers], root)
    write(root, spec)
    subprocess.run(["sync", "--file-system", str(place / "disk")], check=True)
    spawn = strings(spec["spawn"])
    os.execvp(spawn[0], spawn)  # noqa: S606


def strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def mount(how: list[str], folder: Path) -> None:
    """What fails is said on stderr by mount itself."""
    subprocess.run(["mount", *how, str(folder)], check=True)


def write(root: Path, spec: dict[str, object]) -> None:
    """Files and links of a new host, none on later boots; they outlive a loss of power."""
    files, links = spec["files"], spec["links"]
    assert isinstance(files, dict)
    assert isinstance(links, dict)
    for path, (text, mode) in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if ".ssh" in path else 0o755)
        place.write_text(text)
        place.chmod(mode)
    for path, target in links.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
