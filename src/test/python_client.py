"""Streams a classic pcap file to rcap-collector, by proto/README.md alone: Python's standard library, nothing of rcap's.

Prints what was sent and acknowledged as JSON. Exit codes: 0 acknowledged to the end, 1 not.
"""
import argparse, base64, hashlib, json, os, platform, select, socket, ssl, struct, sys, time

WAIT_SECONDS = 60


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n) if n else b""


def text(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def fixed64(field, n):
    return varint(field << 3 | 1) + struct.pack("<Q", n)


def read_varint(b, at):
    n = shift = 0
    while True:
        n |= (b[at] & 0x7F) << shift
        shift += 7
        at += 1
        if b[at - 1] < 0x80:
            return n, at


def fields(b):
    """A message's fields as {number: last value}."""
    out, at = {}, 0
    while at < len(b):
        tag, at = read_varint(b, at)
        if tag & 7 == 0:
            out[tag >> 3], at = read_varint(b, at)
        else:
            n, at = read_varint(b, at) if tag & 7 == 2 else (8 if tag & 7 == 1 else 4, at)
            out[tag >> 3], at = b[at:at + n], at + n
    return out


def read_pcap(file):
    """(link type, snaplen), then (nanoseconds, original length, bytes) for each packet."""
    head = file.read(24)
    for order in "<>":
        unit = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}.get(struct.unpack(order + "I", head[:4])[0])
        if unit:
            break
    else:
        sys.exit("not a classic pcap file")
    snaplen, link_type = struct.unpack(order + "II", head[16:24])
    yield link_type & 0xFFFF, snaplen if 1 <= snaplen <= 262144 else 262144
    while len(head := file.read(16)) == 16:
        seconds, fraction, captured, original = struct.unpack(order + "IIII", head)
        yield seconds * 10**9 + fraction * unit, original, file.read(captured)


def pin_of(certificate):
    """sha256/ and the base64 SHA-256 of a DER certificate's SubjectPublicKeyInfo."""
    def element(at):  # start of the content, end
        n, at = certificate[at + 1], at + 2
        if n > 0x80:
            n, at = int.from_bytes(certificate[at:at + n - 0x80], "big"), at + n - 0x80
        return at, at + n
    at = element(element(0)[0])[0]  # into Certificate, into TBSCertificate
    at = element(at)[1] if certificate[at] == 0xA0 else at  # version
    for _ in range(5):  # serial number, signature, issuer, validity, subject
        at = element(at)[1]
    return "sha256/" + base64.b64encode(hashlib.sha256(certificate[at:element(at)[1]]).digest()).decode()


class Connection:
    def __init__(self, options):
        host, port = options.server.rsplit(":", 1)
        context = ssl.create_default_context(cafile=options.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if options.pin:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = context.wrap_socket(plain, server_hostname=options.name or host)
        if options.pin and pin_of(self.tls.getpeercert(True)) != options.pin:
            sys.exit("another key: " + pin_of(self.tls.getpeercert(True)))
        self.received, self.piece = b"", options.piece
        self.counts = {"packets": 0, "bytes": 0, "batches": 0, "acknowledged": 0, "ended": False, "refused": None}
        self.document, self.held, self.owed = None, 0, []
        self.tls.setblocking(False)

    def send(self, kind, message):
        messages = [text(8, state) for state in self.owed] + [text(kind, message)]
        self.owed = []
        data = b"".join(varint(len(m)) + m for m in messages)
        piece = self.piece or len(data)
        for at in range(0, len(data), piece):
            rest = data[at:at + piece]
            while rest:
                self.receive()
                try:
                    rest = rest[self.tls.send(rest):]
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    select.select([self.tls], [self.tls], [], WAIT_SECONDS)
                except OSError:  # what it said before it went is still there
                    self.receive()
                    finish(self.counts, 1)

    def receive(self):
        """Takes what is there."""
        try:
            while data := self.tls.recv(65536):
                self.received += data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            data = None
        except OSError:
            data = b""
        while self.received:
            n, at = read_varint(self.received + b"\0", 0)
            if len(self.received) < at + n:
                break
            message, self.received = fields(self.received[at:at + n]), self.received[at + n:]
            if 2 in message:  # Ack
                ack = fields(message[2])
                self.counts["acknowledged"] = max(self.counts["acknowledged"], ack.get(2, 0))
                self.counts["ended"] |= bool(ack.get(3))
            elif 5 in message:  # Refusal
                refusal = fields(message[5])
                self.counts["refused"] = [refusal.get(1, 0), refusal.get(2, b"").decode()]
                finish(self.counts, 1)
            elif 3 in message:
                self.settings(fields(message[3]))
            elif 1 in message:
                self.welcome = fields(message[1])
        if data == b"":
            finish(self.counts, 1)

    def settings(self, piece):
        """Each document is answered once, when it is whole: here nothing of it can be done."""
        digest, length = piece.get(1, b""), piece.get(2, 0)
        if digest != self.document:
            self.document, self.held = digest, 0
        self.held += len(piece.get(3, b""))
        if digest and self.held == length:
            self.document = None
            self.owed.append(text(1, digest) + text(3, b"this client takes no settings"))

    def wait(self, done):
        end = time.monotonic() + WAIT_SECONDS
        while not done():
            if not self.tls.pending() and not select.select([self.tls], [], [], max(0, end - time.monotonic()))[0]:
                finish(self.counts, 1)
            self.receive()
            if self.owed:
                self.send(7, b"")


def finish(counts, code):
    print(json.dumps(counts))
    sys.exit(code)


def main():
    parser = argparse.ArgumentParser()
    for name in "server", "token", "pin", "ca", "name", "host-name":
        parser.add_argument("--" + name)
    parser.add_argument("--batch", type=int, default=500, help="packets a batch")
    parser.add_argument("--piece", type=int, help="bytes a TLS record")
    parser.add_argument("--pause", type=float, default=0, help="seconds after each batch")
    parser.add_argument("--no-end", action="store_true", help="send no end mark, stay until killed")
    parser.add_argument("--odd", action="store_true", help="legal, but not as the agent writes it")
    parser.add_argument("file")
    options = parser.parse_args()
    odd = b""
    if options.odd:  # fields that nobody knows, of each wire type
        odd = number(900, 2**64 - 1) + fixed64(901, 1) + text(902, b"unknown") + varint(903 << 3 | 5) + bytes(4)

    def packet(time_ns, original, data):
        time_field, data_field = fixed64(1, time_ns), text(3, data)
        if not options.odd:
            return text(4, time_field + (number(2, original) if original != len(data) else b"") + data_field)
        return text(4, odd + text(3, b"replaced by the last") + data_field + number(2, original) + time_field + odd) + odd

    c = Connection(options)
    host = text(1, (options.host_name or socket.gethostname()).encode()) + text(2, platform.system().encode())
    c.send(1, number(1, 1) + text(2, os.urandom(16)) + text(3, host) + text(4, b"python_client")
           + fixed64(5, time.time_ns()) + text(6, options.token.encode()) + odd)
    c.wait(lambda: hasattr(c, "welcome"))
    with open(options.file, "rb") as file:
        packets = read_pcap(file)
        link_type, snaplen = next(packets)
        c.send(2, odd + number(6, snaplen) + number(5, link_type) + text(2, b"file") + number(1, 1) + number(9, 9)
               + text(10, b"file") + text(11, os.path.basename(options.file).encode()))
        batch, size, count = [], 0, c.counts

        def flush():
            count["batches"] += 1
            head = [number(1, 1), number(2, count["batches"]), number(3, count["packets"] - len(batch) + 1)]
            c.send(3, b"".join(head[::-1] + [odd] if options.odd else head) + b"".join(batch))
            time.sleep(options.pause)
            batch.clear()

        for p in packets:
            encoded = packet(*p)
            if batch and (len(batch) == options.batch or size + len(encoded) > 250_000):
                flush()
                size = 0
            batch.append(encoded)
            size += len(encoded)
            count["packets"] += 1
            count["bytes"] += len(p[2])
        if batch:
            flush()
    if options.no_end:
        c.wait(lambda: False)
    c.send(6, number(1, 1) + text(2, b"end of file") + number(4, count["batches"]))
    c.wait(lambda: count["ended"])
    finish(count, 0 if count["acknowledged"] == count["batches"] else 1)


main()
