"""A node proxy in Python that only relays: `stand_in_proxy.py HAND-OVER-SOCKET [REFUSED-UID…]`.

It speaks the hand-over protocol and behaves to the kernel as the real proxy does. Connections
to port 9999 it answers itself, with what it knows of them as JSON. A connection to 15008 goes
to the app's port 8080, as a tunnel would.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import itertools
import json
import os
import signal
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent import wire
from agent.errors import UnavailableError
from agent.handover import AddPod, DeletePod, KeepPod, ProxyEnd, SnapshotSent

ANSWERED_PORT = 9999
_ports = itertools.cycle(range(10000, 32767))
_libc = ctypes.CDLL(None, use_errno=True)


def enter(netns):
    if _libc.setns(netns, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def listener(port):
    sock = socket.socket(socket.AF_INET6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("::", port))
    sock.listen(4096)
    sock.setblocking(False)
    return sock


def unmapped(address):
    return address.removeprefix("::ffff:") if "." in address else address


def original_destination(conn):
    raw = conn.getsockopt(socket.IPPROTO_IPV6, 80, 28)
    address = unmapped(socket.inet_ntop(socket.AF_INET6, raw[8:24]))
    with contextlib.suppress(OSError):
        v4 = conn.getsockopt(socket.IPPROTO_IP, 80, 16)
        assert socket.inet_ntoa(v4[4:8]) == address, "the two levels disagree"
    return address, struct.unpack_from("!H", raw, 2)[0]


def dial(address, client=None):
    """A socket for the upstream, or for the last hop when the client's address is given."""
    is_v6 = ":" in address
    sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, wire.MARK_LAST_HOP if client else wire.MARK_UPSTREAM)
    if client:
        sock.setsockopt(41 if is_v6 else 0, 75 if is_v6 else 19, 1)  # IP_TRANSPARENT
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind_last_hop(sock, client)
    sock.setblocking(False)
    return sock


def bind_last_hop(sock, client):
    """Choose a port below those that clients choose from.

    With a port that another connection of this client has, the SYN would meet that
    connection's accepted socket, whose four numbers are the same.
    """
    while True:
        with contextlib.suppress(OSError):
            return sock.bind((client, next(_ports)))


class ServedPod:
    def __init__(self, netns):
        self.netns = netns
        self.inside = ThreadPoolExecutor(1, initializer=enter, initargs=(netns,))
        self.live = set()
        self.listeners = {}

    def start(self):
        for port in (wire.OUTBOUND_PORT, wire.INBOUND_PORT, wire.HBONE_PORT):
            self.listeners[port] = self.inside.submit(listener, port).result()
        for port, sock in self.listeners.items():
            asyncio.get_running_loop().add_reader(sock, self.accept, port, sock)

    def accept(self, port, sock):
        """Take all that wait in the listener's queue."""
        with contextlib.suppress(BlockingIOError):
            while True:
                conn, peer = sock.accept()
                task = asyncio.ensure_future(self.relay(port, conn, peer))
                self.live.add(task)
                task.add_done_callback(self.live.discard)

    async def relay(self, port, conn, peer):
        loop = asyncio.get_running_loop()
        up = None
        pumps = []
        try:
            conn.setblocking(False)
            local = (unmapped(conn.getsockname()[0]), conn.getsockname()[1])
            client = unmapped(peer[0])
            target = original_destination(conn) if port == wire.OUTBOUND_PORT else local
            if port == wire.HBONE_PORT:
                target = (local[0], 8080)
            if target[1] == ANSWERED_PORT:
                answer = {"port": port, "target": target, "client": client, "process": os.getpid()}
                await loop.sock_sendall(conn, json.dumps(answer).encode())
                return
            if target[1] in wire.PROXY_PORTS and port != wire.OUTBOUND_PORT:
                return
            last_hop = None if port == wire.OUTBOUND_PORT else client
            up = await self.connected(target, last_hop)
            pumps = [asyncio.ensure_future(pump(conn, up)), asyncio.ensure_future(pump(up, conn))]
            await asyncio.gather(*pumps)
        except (OSError, TimeoutError) as exc:
            print(f"stand-in: port {port} from {peer[:2]} upstream {up}: {exc!r}", file=sys.stderr, flush=True)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            for each in pumps:
                each.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            conn.close()
            if up:
                up.close()

    async def connected(self, target, client):
        """A connection to the target; for the last hop with the next port that is free towards it."""
        while True:
            up = self.inside.submit(dial, target[0], client).result()
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(up, target), 5)
                return up
            except OSError as exc:
                up.close()
                if client is None or exc.errno != errno.EADDRNOTAVAIL:
                    raise

    async def stop(self):
        for port, sock in self.listeners.items():
            asyncio.get_running_loop().remove_reader(sock)
            self.accept(port, sock)
            sock.close()
        if self.live:
            await asyncio.wait(list(self.live), timeout=3)
        self.inside.shutdown()
        os.close(self.netns)


async def pump(source, sink):
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, 262144):
        await loop.sock_sendall(sink, data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def is_refused(uid, refused):
    """Until the file named for the pod exists."""
    return uid in refused and not Path(refused[uid]).exists()


async def talk(end, pods, refused):
    named = set()
    stopping = []
    is_whole = False
    while True:
        request = await end.receive()
        error = ""
        match request:
            case AddPod(uid=uid) if is_refused(uid, refused):
                os.close(request.netns)
                error = "told to refuse it"
            case AddPod(uid=uid):
                named.add(uid)
                if uid in pods and os.fstat(pods[uid].netns).st_ino == os.fstat(request.netns).st_ino:
                    os.close(request.netns)
                else:
                    if uid in pods:  # its sandbox was made anew
                        stopping.append(asyncio.ensure_future(pods.pop(uid).stop()))
                    pod = ServedPod(request.netns)
                    try:
                        pod.start()
                        pods[uid] = pod
                    except OSError as exc:
                        await pod.stop()
                        error = f"cannot listen: {exc}"
            case KeepPod(uid):
                named.add(uid)
            case DeletePod(uid):
                if uid in pods:
                    stopping.append(asyncio.ensure_future(pods.pop(uid).stop()))
            case SnapshotSent():
                is_whole = True
                for uid in pods.keys() - named:
                    stopping.append(asyncio.ensure_future(pods.pop(uid).stop()))
        await end.acknowledge(error)
        if is_whole:
            print("ready", flush=True)
            is_whole = False


async def main(path, refused):
    loop = asyncio.get_running_loop()
    pods = {}
    serving = asyncio.ensure_future(serve(path, pods, refused))
    loop.add_signal_handler(signal.SIGTERM, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await asyncio.gather(*(pod.stop() for pod in pods.values()))


async def serve(path, pods, refused):
    while True:
        try:
            end = await ProxyEnd.connect(Path(path))
        except UnavailableError:
            await asyncio.sleep(0.05)
            continue
        try:
            await talk(end, pods, refused)
        except UnavailableError:
            end.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], dict(item.split("=") for item in sys.argv[2:])))
