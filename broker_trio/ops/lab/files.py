"""What is written into a host before it boots, and what the controller needs to reach it.

A host differs from the base by its name, its keys, its address and its mounts, and by nothing else:
Ansible finds a bare Debian 12.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from broker_trio.ops.lab.plan import CONTROLLER, GROUPS, PREFIX_BITS, Host, Plan

WANTS: Final = "etc/systemd/system/multi-user.target.wants"


class File(NamedTuple):
    """Text with its mode."""

    text: str
    mode: int = 0o644


def host_files(
    plan: Plan, host: Host, *, machine_id: str, public_key: str, host_key: str
) -> dict[str, File]:
    """Path below the host's root to what stands there."""
    names = "".join(f"{other.address} {other.name}\n" for other in plan.hosts)
    return {
        "etc/hostname": File(f"{host.name}\n"),
        "etc/hosts": File(f"127.0.0.1 localhost\n{CONTROLLER} controller\n{names}"),
        "etc/resolv.conf": File(""),
        "etc/default/locale": File("LANG=C.UTF-8\n"),
        "etc/machine-id": File(f"{machine_id}\n", 0o444),
        "etc/systemd/network/10-lab.network": File(
            "[Match]\nName=host0\n\n"
            f"[Network]\nAddress={host.address}/{PREFIX_BITS}\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\nLLMNR=no\n"
        ),
        "etc/ssh/ssh_host_ed25519_key": File(host_key, 0o600),
        "etc/ssh/sshd_config.d/lab.conf": File(
            "HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\n"
        ),
        "root/.ssh/authorized_keys": File(public_key, 0o600),
    }


def host_links() -> dict[str, str]:
    """Path below the host's root to where it points."""
    return {f"{WANTS}/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service"}


def nspawn_command(host: Host, root: str, volumes: Mapping[str, str], bridge: str) -> list[str]:
    """`volumes`: where a volume is mounted outside, by its path inside. Mounts are read-only.

    `--register=no`: the machine's own init need not be systemd. `/proc/sys` outside the network
    stays read-only in hosts: they share the kernel, and vm.* of one would be that of all.
    """
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={root}",
        f"--machine={host.name}",
        f"--network-bridge={bridge}",
        *(f"--bind={outside}:{inside}" for inside, outside in volumes.items()),
        *(f"--bind-ro={mount.source}:{mount.path}" for mount in host.mounts),
        "--register=no",
        "--keep-unit",
        "--settings=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=pipe",
    ]


def ssh_config(plan: Plan, folder: str, connect: str) -> str:
    """For `ssh -F`. The proxy hands ssh a socket that was made in the lab's namespace."""
    hosts = "".join(f"Host {host.name}\n  HostName {host.address}\n\n" for host in plan.hosts)
    return (
        f"{hosts}Host *\n"
        "  User root\n"
        f"  IdentityFile {folder}/key\n"
        "  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n"
        "  GlobalKnownHostsFile none\n"
        "  StrictHostKeyChecking yes\n"
        f"  ProxyCommand {connect} %h %p\n"
        "  ProxyUseFdpass yes\n"
        "  ServerAliveInterval 5\n"
        "  ServerAliveCountMax 12\n"
        "  LogLevel ERROR\n"
    )


def known_hosts(plan: Plan, public_keys: Mapping[str, str]) -> str:
    """One line a host; hosts are who they say they are from the first connection on."""
    lines = (
        f"{host.name},{host.address} {public_keys[host.name]}\n"
        for host in plan.hosts
        if host.name in public_keys
    )
    return "".join(lines)


def inventory(plan: Plan, folder: str) -> dict[str, Any]:
    """What Ansible reads: groups of hosts, and how to reach them over ssh."""
    groups = {
        group: {"hosts": {h.name: host_vars(h) for h in plan.hosts if h.group == group}}
        for group in GROUPS
    }
    return {
        "all": {
            "vars": {
                "ansible_user": "root",
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_common_args": f"-F {folder}/ssh_config",
                "ansible_control_path_dir": f"{folder}/cp",
            },
            "children": groups,
        }
    }


def host_vars(host: Host) -> dict[str, Any]:
    """Its address, and for a broker its place in a pair."""
    told: dict[str, Any] = {"ansible_host": host.address}
    if host.pair:
        told |= {"broker_name": host.pair, "broker_id": host.broker_id}
    return told


def script_form(tree: dict[str, Any]) -> dict[str, Any]:
    """The same inventory as an inventory script answers `--list`."""
    top = tree["all"]
    groups = {name: list(group["hosts"]) for name, group in top["children"].items()}
    variables = {
        name: values
        for group in top["children"].values()
        for name, values in group["hosts"].items()
    }
    return {
        "all": {"children": list(groups), "vars": top["vars"]},
        **{name: {"hosts": hosts} for name, hosts in groups.items()},
        "_meta": {"hostvars": variables},
    }


def yaml_text(value: Any, indent: int = 0) -> str:
    """Mappings and scalars as YAML; enough for an inventory, so that no library is needed."""
    pad = "  " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines.append(f"{pad}{key}:\n{yaml_text(item, indent + 1)}")
        else:
            lines.append(f"{pad}{key}: {scalar(item)}\n")
    return "".join(lines)


def scalar(item: Any) -> str:
    """A plain number, an empty mapping, or a quoted string."""
    if isinstance(item, dict):
        return "{}"
    if isinstance(item, int):
        return str(item)
    escaped = str(item).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
