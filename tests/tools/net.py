"""Workloads on the loopback network, and TLS within one process."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import tempfile
import time

__all__ = ["addresses", "connected", "handshake", "unanswered", "unreachable", "wire_ready"]


def connected(payload: int = 5000) -> None:
    """Connections of IPv4 and IPv6 with a little traffic, both ends in this process."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as listening:
            listening.bind((address, 0))
            listening.listen(7)
            with socket.create_connection(listening.getsockname()[:2]) as client:
                server, _ = listening.accept()
                with server:
                    client.sendall(b"x" * payload)
                    left = payload
                    while left:
                        left -= len(server.recv(left))
                    server.sendall(b"y" * 3000)
                    client.recv(3000, socket.MSG_WAITALL)
                time.sleep(0.05)


def wire_ready() -> None:
    """A wire with nobody at its end."""
    if not os.path.exists("/sys/class/net/tool0"):
        for words in (
            "modprobe veth",
            "ip link add tool0 type veth peer name tool1",
            "ip addr add 10.9.9.1/24 dev tool0",
            "ip link set tool0 up",
            "ip link set tool1 up",
        ):
            if subprocess.run(words.split(), capture_output=True).returncode:
                raise OSError(f"can't {words}")


def unreachable() -> None:
    """Connections to a neighbour that doesn't answer: what waits for its address is dropped."""
    clients = []
    for _ in range(2):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("10.9.9.2", 80))
        clients.append(client)
    time.sleep(4.5)
    for client in clients:
        client.close()


def unanswered() -> None:
    """A listener whose queue is full drops what comes: SYNs are dropped, then sent again."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        clients = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
            clients.append(client)
        time.sleep(4.5)
        for client in clients:
            client.close()


def addresses() -> None:
    """Names looked up that /etc/hosts answers."""
    socket.getaddrinfo("localhost", 80)
    socket.getaddrinfo("127.0.0.1", 443)
    socket.gethostbyname("localhost")


def handshake() -> None:
    """A TLS handshake, a message each way."""
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = f"{directory}/key", f"{directory}/certificate"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=toolload", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certificate, key)
        asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        asking.load_verify_locations(certificate)
        asking.check_hostname = False
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(there, back, server_side=True)
    client = asking.wrap_bio(back, there)
    ends = [client, server]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
    client.write(b"question")
    assert server.read(100) == b"question"
    server.write(b"answer")
    assert client.read(100) == b"answer"
