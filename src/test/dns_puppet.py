"""What programs of a host do: ask a name server, send a datagram. `forge` is what an attacker does.

ask SERVER udp|tcp NAME A|AAAA     waits for the answer
send ADDRESS PORT                  one datagram
forge ADDRESS PORT NAME IPV4       an answer to a question that nobody asked
"""
import socket
import struct
import sys

TYPES = {"A": 1, "AAAA": 28}


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def ask(server, way, name, kind):
    query = struct.pack(">6H", 4711, 0x0100, 1, 0, 0, 0) + encoded(name) + struct.pack(">2H", TYPES[kind], 1)
    tcp = way == "tcp"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.connect((server, 53))
        if tcp:
            # In two pieces, so that it has to be put together.
            whole = struct.pack(">H", len(query)) + query
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(whole[:9])
            s.sendall(whole[9:])
        else:
            s.send(query)
        if len(s.recv(65535)) < 2:
            sys.exit("no answer")


def send(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"probe", (address, int(port)))


def forge(address, port, name, ipv4):
    head = struct.pack(">6H", 4711, 0x8180, 1, 1, 0, 0)
    record = b"\xc0\x0c" + struct.pack(">2HIH", 1, 1, 3600, 4) + socket.inet_aton(ipv4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", 53))
        s.sendto(head + encoded(name) + struct.pack(">2H", 1, 1) + record, (address, int(port)))


{"ask": ask, "send": send, "forge": forge}[sys.argv[1]](*sys.argv[2:])
