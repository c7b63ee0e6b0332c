"""The smallest producer: frames by hand over one socket, so that a probe costs milliseconds.

It sends to a broker's port until a message is accepted.
"""

import json
import socket
import struct
import time


def ask(address, code, ext, body=b""):
    """One JSON command and its answer's (code, header, body)."""
    host, _, port = address.rpartition(":")
    header = json.dumps(
        {
            "code": code,
            "language": "OTHER",
            "version": 481,
            "opaque": 1,
            "flag": 0,
            "extFields": ext,
        }
    ).encode()
    with socket.create_connection((host, int(port)), timeout=5) as peer:
        peer.sendall(struct.pack(">ii", 4 + len(header) + len(body), len(header)) + header + body)
        size = struct.unpack(">i", read(peer, 4))[0]
        data = read(peer, size)
    length = struct.unpack(">i", data[:4])[0] & 0xFFFFFF
    answer = json.loads(data[4 : 4 + length])
    return answer["code"], answer, data[4 + length :]


def read(peer, size):
    """Exactly `size` bytes."""
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise ConnectionError("closed half way")
        data += more
    return data


def try_send(address):
    """Whether the broker takes a message now."""
    fields = {
        "a": "probe", "b": "Probe", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": str(int(time.time() * 1000)), "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
    }  # fmt: skip
    return ask(address, 310, fields, b"probe")[0] == 0


def wait_accepts(address, seconds=180.0):
    """Until the broker takes a message."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if try_send(address):
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.01)
    raise TimeoutError(f"no message accepted within {seconds} s")
