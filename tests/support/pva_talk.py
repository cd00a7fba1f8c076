"""A pvAccess server's words to a client, framed, for tests that need no socket."""

from sim.pva_encode import NTNDARRAY, Encoder


class Talk:
    """A server's words, framed."""

    def __init__(self, *, big: bool = False, segment: int = 0) -> None:
        self.e = Encoder(big=big)
        self.flags = 0x40 | (0x80 if big else 0)
        self.segment = segment

    def header(self, command: int, size: int, flags: int = 0) -> bytes:
        return b"\xca\x02" + bytes([self.flags | flags, command]) + self.e.pack("I", size)

    def message(self, command: int, body: bytes) -> bytes:
        if not self.segment or len(body) <= self.segment:
            return self.header(command, len(body)) + body
        parts = [body[i : i + self.segment] for i in range(0, len(body), self.segment)]
        places = [0x10, *[0x30] * (len(parts) - 2), 0x20]
        control = self.header(0, 77, 1)
        return control.join(self.header(command, len(p), f) + p for p, f in zip(parts, places, strict=True))

    def greeting(self) -> bytes:
        hello = self.e.pack("IH", 1 << 16, 100) + self.e.size(1) + self.e.string("ca")
        return self.header(2, 0, 1) + self.message(1, hello) + self.message(9, b"\xff")

    def opening(self, kind: object = NTNDARRAY) -> bytes:
        return (
            self.greeting()
            + self.message(7, self.e.pack("II", 1, 5) + b"\xff")
            + self.message(13, self.e.pack("IB", 1, 8) + b"\xff" + self.e.type(kind))
        )

    def update(self, kind: object, value: object, changed: int = 1) -> bytes:
        body = self.e.pack("IB", 1, 0) + self.e.bits(changed) + self.e.value(kind, value) + self.e.bits(0)
        return self.message(13, body)
