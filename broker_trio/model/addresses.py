"""Addresses as people write them, `host:port` with IPv6 in brackets; which ones others reach."""

from ipaddress import ip_address


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `host:port`."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def door_problems(listen: str, http_address: str, *, allow_insecure_listen: bool) -> list[str]:
    """What is wrong with a program's two doors; an empty `http_address` means no HTTP door."""
    doors = [("listen", listen)] + ([("http.address", http_address)] if http_address else [])
    found = [
        listen_problem(name, address, allow_insecure_listen=allow_insecure_listen)
        for name, address in doors
    ]
    return [problem for problem in found if problem is not None]


def listen_problem(name: str, address: str, *, allow_insecure_listen: bool) -> str | None:
    """Why a program must not listen on this address, in one sentence; None where it may.

    `name` is the setting's. While accounts and TLS do not exist, whatever other machines can reach
    needs the spelled-out switch.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        return f"{name} = {address!r} is not host:port"
    if is_loopback(address) or allow_insecure_listen:
        return None
    return (
        f"{name} = {address!r} can be reached from other machines, and accounts and TLS do not "
        "exist yet: set allow_insecure_listen = true to serve it without them, or use 127.0.0.1"
    )
