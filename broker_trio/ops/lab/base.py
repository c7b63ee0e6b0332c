"""What every host is made from: one Debian 12 tree, read-only below all of them.

Hosts have no way out of the lab, so what they will ever need is in the base from the start; what is
installed is not running: services of the packages are disabled, as on a host whose image was built
once for all roles. The tree is cached under a name that holds the digest of this recipe; another
list is another tree. It is made in a folder beside it and renamed when complete.
"""

from typing import Final

SUITE: Final = "bookworm"
RECIPE: Final = "2"  # count up when what is done to the tree after its packages changes

HOST_PACKAGES: Final = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",  # loginctl, user limits
    "libnss-systemd",  # DynamicUser has a name
    "openssh-server",
    "sudo",
    "python3",  # what Ansible and the broker run on
    "python3-apt",  # package_facts and check mode of packages
    "iproute2",
    "iputils-ping",
    "nftables",
    "procps",
    "less",
    "prometheus",  # promtool is in it
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "libfaketime",  # the `clock` fault
)
"""Packages of a host, beyond Debian's minimal base."""

DISABLED: Final = (
    "prometheus.service",
    "prometheus-alertmanager.service",
    "prometheus-node-exporter.service",
    "prometheus-node-exporter-apt.timer",
    "prometheus-node-exporter-ipmitool-sensor.timer",
    "prometheus-node-exporter-mellanox-hca-temp.timer",
    "prometheus-node-exporter-nvme.timer",
    "prometheus-node-exporter-smartmon.timer",
    "nftables.service",
)
"""Units that their packages enable, and a bare host does not run."""

MASKED: Final = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "dpkg-db-backup.timer",
    "getty.target",  # nobody sits at the console
    "console-getty.service",
    "systemd-networkd-wait-online.service",
)
"""Units that have no sense in a lab, or would look for a network outside it."""

REMOVED: Final = (
    "etc/machine-id",
    "etc/ssh/ssh_host_rsa_key",
    "etc/ssh/ssh_host_rsa_key.pub",
    "etc/ssh/ssh_host_ecdsa_key",
    "etc/ssh/ssh_host_ecdsa_key.pub",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/resolv.conf",
    "etc/hostname",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/apt/archives/*.deb",
    "var/lib/apt/lists/*_*",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)
"""Identity that each host gets for itself, and weight that nobody reads: patterns in the tree."""

MACHINE_NEEDS: Final = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemctl": "systemd",
}
"""Program to the Debian package that brings it: what the machine under the lab has."""


def recipe_text() -> str:
    """All that decides what the tree holds; its digest names the cached tree."""
    parts = (SUITE, RECIPE, *HOST_PACKAGES, *DISABLED, *MASKED, *REMOVED)
    return "\n".join(parts)


def debootstrap_command(target: str, mirror: str = "") -> list[str]:
    """Without a mirror debootstrap asks Debian's own."""
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(HOST_PACKAGES)}",
        SUITE,
        target,
    ]
    return [*command, mirror] if mirror else command
