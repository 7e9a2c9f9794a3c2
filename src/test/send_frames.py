"""Sends Ethernet frames out of an interface: send_frames.py INTERFACE COUNT SIZE RATE, numbered from 0, RATE 0 for as fast
as it goes; or send_frames.py INTERFACE hex HEX..., each as it is. Needs CAP_NET_RAW. Prints how many went out."""

import socket
import sys
import time

HEADER = bytes.fromhex("020000000001" "020000000002" "88b5")  # an EtherType for experiments (IEEE 802)


def frames(count, size):
    for i in range(count):
        yield HEADER + i.to_bytes(8, "big") + bytes(size - len(HEADER) - 8)


def main(interface, *rest):
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind((interface, 0))
    if rest[0] == "hex":
        for text in rest[1:]:
            out.send(bytes.fromhex(text))
        print(len(rest) - 1)
        return
    count, size, rate = (int(x) for x in rest)
    began = time.monotonic()
    for i, frame in enumerate(frames(count, size)):
        out.send(frame)
        if rate and i % 100 == 99:
            ahead = began + i / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    print(count)


main(*sys.argv[1:])
