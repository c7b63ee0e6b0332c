#!/usr/bin/python
"""Install a release from a bundle that lies on the host."""

DOCUMENTATION = r"""
module: rmq_release
short_description: Install a release of broker-trio beside the others
description:
  - Checks every hash, makes an environment without pip, unpacks the wheels into it (a wheel that needs more
    than that is left to the bundle's own pip), and runs the program once.
  - The link C(current) is switched by I(state=current), and C(previous) then shows what it was.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would be installed or linked.}
  diff_mode: {support: full, description: Shows the release before and after.}
options:
  release: {description: Name of the release's folder., type: str, required: true}
  digest: {description: Digest of the bundle; empty asks for an installed one., type: str, default: ''}
  bundle: {description: The bundle's tar file on this host., type: path}
  root: {description: Where releases are installed., type: path, default: /opt/broker-trio}
  state: {description: What to bring about., type: str, choices: [installed, current], default: installed}
"""

EXAMPLES = r"""
- name: Install a release
  rmq_release:
    release: 0.3.0-1a2b3c4d
    digest: 1a2b3c4d0000
    bundle: /opt/broker-trio/bundles/broker-trio-0.3.0-py3.11.tar
"""

RETURN = r"""
before:
  description: The release that was current.
  returned: always
  type: str
"""

import compileall
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_links import current, installed, on_disk, switch

MODULE = "broker_trio.cli.main"
PROGRAM = """#!%s/bin/python
import sys
from %s import main
sys.exit(main())
"""


def unpack(module, bundle, house):
    """Unpack, and refuse every file that is not what the manifest says."""
    with tarfile.open(bundle) as tar:
        names = [entry.name for entry in tar if not entry.isfile() or "/" in entry.name]
        if names:
            module.fail_json(msg="%s holds %s: no bundle of ours" % (bundle, names[0]))
        tar.extractall(house)
    with open(house + "/manifest.json") as text:
        manifest = json.load(text)
    for wheel in manifest["wheels"]:
        with open(os.path.join(house, wheel["file"]), "rb") as content:
            have = hashlib.sha256(content.read()).hexdigest()
        if have != wheel["sha256"]:
            text = "%s in %s has sha256 %s, the manifest says %s: build and copy the bundle again"
            module.fail_json(msg=text % (wheel["file"], bundle, have, wheel["sha256"]))
    compiled = house + "/compiled.zip"
    if os.path.exists(compiled):
        with open(compiled, "rb") as content:
            if hashlib.sha256(content.read()).hexdigest() != manifest.get("compiled"):
                module.fail_json(msg="compiled.zip in %s is not the manifest's" % bundle)
    return manifest


def run(module, *command):
    code, out, err = module.run_command(list(command))
    if code:
        text = "%s: exit code %d: %s" % (" ".join(command), code, (err or out).strip()[-800:])
        module.fail_json(msg=text, rc=code)
    return out


def is_plain(wheel):
    """Whether unpacking it installs it: no files for other places than site-packages."""
    with zipfile.ZipFile(wheel) as packed:
        return not any(".data/" in name.split("/", 1)[0] + "/" for name in packed.namelist())


def by_unpacking(wheels, house, folder):
    """Wheels and their bytecode into site-packages, and the one program that we call."""
    packages = "%s/lib/python%d.%d/site-packages" % (folder, *sys.version_info[:2])
    compiled = house + "/compiled.zip"
    for path in [*wheels, *([compiled] if os.path.exists(compiled) else [])]:
        with zipfile.ZipFile(path) as packed:
            packed.extractall(packages)
    if not os.path.exists(compiled):
        compileall.compile_dir(packages, quiet=2)
    program = folder + "/bin/broker-trio"
    with open(program, "w") as out:
        out.write(PROGRAM % (folder, MODULE))
    os.chmod(program, 0o755)


def by_pip(module, manifest, house, folder):
    """What the bundle's pip does, from the bundle alone."""
    pip = os.path.join(house, manifest["pip"], "pip")
    options = ["--no-index", "--find-links", house, "--require-hashes"]
    options += ["-r", house + "/requirements.lock"]
    options += ["--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    run(module, folder + "/bin/python", pip, "install", *options)


def install(module, folder):
    """Everything but the marker can be there from an interrupted run: it is done again.

    The marker is written when the rest is on the disk.
    """
    params = module.params
    house = tempfile.mkdtemp(prefix=".bundle-", dir=params["root"])
    try:
        manifest = unpack(module, params["bundle"], house)
        if manifest["digest"] != params["digest"]:
            text = "%s has digest %s, wanted is %s"
            module.fail_json(msg=text % (params["bundle"], manifest["digest"], params["digest"]))
        shutil.rmtree(folder, ignore_errors=True)
        run(module, sys.executable, "-m", "venv", "--without-pip", folder)
        files = [each["file"] for each in manifest["wheels"] if each["file"] != manifest["pip"]]
        wheels = [os.path.join(house, file) for file in files]
        if all(is_plain(wheel) for wheel in wheels):
            by_unpacking(wheels, house, folder)
        else:
            by_pip(module, manifest, house, folder)
        run(module, folder + "/bin/broker-trio", "broker", "--help")
    finally:
        shutil.rmtree(house, ignore_errors=True)
    on_disk(module, folder)
    with open(folder + "/.part", "w") as marker:
        marker.write(params["digest"] + "\n")
        marker.flush()
        os.fsync(marker.fileno())
    os.replace(folder + "/.part", folder + "/.installed")


def main():
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "str", "required": True},
            "digest": {"type": "str", "default": ""},
            "bundle": {"type": "path"},
            "root": {"type": "path", "default": "/opt/broker-trio"},
            "state": {"type": "str", "choices": ["installed", "current"], "default": "installed"},
        },
        supports_check_mode=True,
    )
    params = module.params
    root, release = params["root"], params["release"]
    folder, before = os.path.join(root, release), current(root)
    result = {"before": before, "changed": False}
    if params["state"] == "installed":
        have = installed(root, release)
        if not have or (params["digest"] and have != params["digest"]):
            result["changed"] = True
            result["diff"] = {
                "before": have + "\n",
                "after": "%s (%s)\n" % (params["digest"], folder),
            }
            if not module.check_mode:
                install(module, folder)
    elif switch(module, root, release):
        result["changed"] = True
        result["diff"] = {"before": before + "\n", "after": release + "\n"}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
