"""A package that stands in for Grafana's: user, folders, unit, and a server that checks files.

    DEB/control, postinst     package `grafana`, user `grafana`
    server.py                 reads provisioning as Grafana's user, says what is wrong with it in
                              /run/grafana-stub.json, and answers /api/health

Grafana's own package cannot be had without its own repository; what it does with correct files is
its own affair and was not tried.
"""

import subprocess
from pathlib import Path
from typing import Final

CONTROL: Final = """Package: grafana
Version: 10.0.0-stub
Architecture: all
Maintainer: broker_trio tests <tests@localhost>
Depends: python3
Description: stand-in for Grafana, checks its provisioning
"""
POSTINST: Final = """#!/bin/sh
set -e
getent group grafana >/dev/null || groupadd --system grafana
home=/usr/share/grafana
getent passwd grafana >/dev/null || useradd --system --gid grafana --home-dir $home grafana
chown -R root:grafana /etc/grafana
chmod -R u=rwX,g=rX,o= /etc/grafana
install -d -o grafana -g grafana -m 0750 /var/lib/grafana
systemctl daemon-reload || true
"""
UNIT: Final = """[Unit]
Description=stand-in for Grafana

[Service]
User=grafana
RuntimeDirectory=grafana
ExecStartPre=+/usr/bin/install -o grafana -m 0644 /dev/null /run/grafana-stub.json
ExecStart=/usr/bin/python3 /usr/share/grafana/server.py

[Install]
WantedBy=multi-user.target
"""
SERVER: Final = '''"""Read what Grafana would read, say what is wrong, answer the health page."""

import glob
import http.server
import json
import os
import re

ETC = "/etc/grafana/provisioning"


def lines_of(text, key):
    return [found.strip() for found in re.findall(r"^[ -]*%s: *(.*)$" % key, text, re.MULTILINE)]


def read(path, problems):
    try:
        with open(path) as text:
            return text.read()
    except OSError as error:
        problems.append("%s: %s" % (path, error.strerror))
        return ""


def look():
    problems, found = [], {"dashboards": []}
    sources = read(ETC + "/datasources/broker-trio.yaml", problems)
    providers = read(ETC + "/dashboards/broker-trio.yaml", problems)
    found["datasource"] = "".join(lines_of(sources, "url"))
    found["folder"] = "".join(lines_of(providers, "folder"))
    (folder,) = lines_of(providers, "path") or [""]
    if lines_of(sources, "apiVersion") + lines_of(providers, "apiVersion") != ["1", "1"]:
        problems.append("apiVersion is not 1 in both")
    for path in sorted(glob.glob(folder + "/*.json")):
        if os.access(path, os.W_OK):
            problems.append(path + ": writable by Grafana")
        try:
            board = json.loads(read(path, problems))
        except ValueError as error:
            problems.append("%s: %s" % (path, error))
            continue
        if not board.get("panels") or not board.get("title"):
            problems.append(path + ": no dashboard")
        found["dashboards"].append(board.get("uid"))
    return {**found, "problems": problems}


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()


with open("/run/grafana-stub.json", "w") as out:
    json.dump(look(), out)
http.server.HTTPServer(("127.0.0.1", 3000), Health).serve_forever()
'''


def build_stub(folder: Path) -> Path:
    """A folder that holds the package and nothing else."""
    tree, out = folder / "tree", folder / "debs"
    files = {
        "DEBIAN/control": CONTROL,
        "DEBIAN/postinst": POSTINST,
        "lib/systemd/system/grafana-server.service": UNIT,
        "usr/share/grafana/server.py": SERVER,
        "etc/grafana/grafana.ini": "[server]\n",
        "etc/grafana/provisioning/.keep": "",
    }
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree / "DEBIAN/postinst").chmod(0o755)
    out.mkdir()
    command = ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(out / "grafana.deb")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out
