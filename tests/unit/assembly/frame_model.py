"""What the assembler does, written again the slow way: packet by packet, with dicts, following its docstrings."""

import math
from collections import Counter
from dataclasses import dataclass, field

from tests.unit.assembly.packets import MODULE, Packet

REMEMBERED = 128


def usable(value: float) -> int | None:
    return int(value) if not math.isnan(value) and 1 <= value < 2**53 and value == int(value) else None


def read(p: Packet) -> int | None:
    return 0 if p.pulse == p.frame == 0 else usable(p.pulse)


def agree(a: Packet, b: Packet) -> bool:
    same = a.pulse == b.pulse or (math.isnan(a.pulse) and math.isnan(b.pulse))
    return same or read(a) is None or read(b) is None


@dataclass
class ModelFrame:
    head: Packet
    pulse_id: int = 0
    bad: bool = False
    flagged: bool = False
    has_slot: bool = True
    got: dict[int, int] = field(default_factory=dict)
    """Packet number -> what its pixels are."""
    odd: int = 0


class Model:
    def __init__(self, packets: int, *, window: int, gap: int, jump: int, step: int, flush_s: float) -> None:
        self.P, self.w, self.gap, self.jump, self.step, self.flush_s = packets, window, gap, jump, step, flush_s
        self.fate: Counter[str] = Counter()
        self.frames: Counter[str] = Counter()
        self.open: dict[int, ModelFrame] = {}
        self.closed: dict[int, ModelFrame | None] = {}
        self.held: list[ModelFrame] = []
        self.votes = self.main_since = 0
        self.rival = False
        self.made: list[int] = []
        self.done: list[tuple[int, int, bool, dict[int, int]]] = []
        self.gate = False
        self.exhausted = False
        self.newest: int | None = None
        self.base = self.first = 0
        self.skip: int | None = None
        self.reference: tuple[int, int] | None = None
        self.now = self.heard = self.began = self.period = 0.0

    # -- feeding

    def feed(self, packets: list[Packet], now: float) -> None:
        self.now = now
        self.fate["received"] += len(packets)
        if not self.gate and not self.open:
            self.fate["disabled"] += len(packets)
            if packets and packets[-1].module == MODULE and packets[-1].length is None:
                self.skip = packets[-1].frame
            return
        for packet in packets:
            self.packet(packet)

    def packet(self, p: Packet) -> None:
        if p.foreign:
            self.fate["alien"] += 1
        elif p.length is not None:
            self.fate["malformed"] += 1
        elif p.module != MODULE:
            self.fate["alien"] += 1
        elif p.number >= self.P:
            self.fate["malformed"] += 1
        elif p.frame in self.open and agree(p, self.open[p.frame].head):
            self.place(self.open[p.frame], p)
        else:
            self.route(p)

    def route(self, p: Packet) -> None:
        f, pulse = p.frame, read(p)
        if not self.gate:
            frame = self.closed.get(f)
            again = frame is not None and agree(p, frame.head) and p.number in frame.got
            self.fate["duplicate" if again else "disabled"] += 1
            self.skip = f
            return
        if self.skip is not None and self.skip - self.w <= f <= self.skip:
            self.fate["disabled"] += 1
            return
        if self.newest is None:
            self.start(f)
            self.place(self.begin(p), p)
            return
        step = f - self.newest
        if step > 0:
            exact = pulse is not None and pulse == self.expected(f)
            if (step <= self.w + 1 and not self.jumps(f, pulse)) or (step <= self.gap and exact):
                if step > 1:
                    self.fill_in(f)
                self.advance(f)
                self.place(self.begin(p), p)
                return
        elif f >= self.base:
            if f not in self.open and (pulse is None or self.reference is None or pulse < self.reference[1]):
                self.place(self.begin(p), p)
                return
        elif f in self.closed:
            frame = self.closed[f]
            if frame is None:
                ours = pulse is None or self.reference is None or pulse < self.reference[1]
            else:
                ours = agree(p, frame.head)
            if ours:
                self.fate["duplicate" if frame is not None and p.number in frame.got else "late"] += 1
                return
        self.hold(p)

    def place(self, frame: ModelFrame, p: Packet) -> None:
        if p.number in frame.got:
            self.fate["duplicate"] += 1
            self.heard = self.now
            return
        frame.got[p.number] = p.fill
        odd = not (p.pulse == frame.head.pulse or (math.isnan(p.pulse) and math.isnan(frame.head.pulse)))
        self.count(frame, 1, int(odd))

    def count(self, frame: ModelFrame, new: int, odd: int) -> None:
        bad = new if frame.bad else odd
        self.fate["placed"] += new - bad
        self.fate["bad_pulse"] += bad
        frame.flagged |= bad > 0
        self.heard = self.now
        if self.held:
            self.main_since += new
            if self.main_since > self.P // 8:
                self.drop()
        if len(frame.got) == self.P:
            self.settle()

    # -- pulses

    def expected(self, f: int) -> int:
        pulse = f * self.step if self.reference is None else self.reference[1] + (f - self.reference[0]) * self.step
        return max(0, pulse) % 2**53

    def replacement(self, f: int) -> int:
        pulse = self.expected(f)
        while pulse in self.made:
            pulse += self.step
        self.made = [*self.made, pulse][-256:]
        return pulse

    def jumps(self, f: int, pulse: int | None) -> bool:
        if pulse is None or self.reference is None:
            return False
        frames, forward = f - self.reference[0], pulse - self.reference[1]
        if frames < 0:
            forward = -forward
        return not 0 < forward <= abs(frames) * self.jump

    # -- opening and closing

    def start(self, f: int) -> None:
        self.newest = self.first = f
        self.base = max(0, f - self.w)
        if self.skip is not None and self.skip < f <= self.skip + self.w + 1:
            self.base = max(self.base, self.skip + 1)
        else:
            self.skip = None

    def begin(self, p: Packet) -> ModelFrame:
        f, pulse = p.frame, read(p)
        frame = ModelFrame(p, has_slot=not self.exhausted)
        if pulse in self.made or (self.reference and self.reference[0] != f and self.reference[1] == pulse):
            pulse = None
        frame.bad = frame.flagged = pulse is None or self.jumps(f, pulse)
        frame.pulse_id = self.replacement(f) if pulse is None else pulse
        if pulse is not None and (self.reference is None or f > self.reference[0]):
            self.reference = f, pulse
        self.open[f] = frame
        self.first = min(self.first, f)
        if self.began:
            self.period += (self.now - self.began - self.period) / 8
        self.began = self.now
        return frame

    def advance(self, f: int) -> None:
        assert self.newest is not None
        while self.base < f - self.w:
            if self.base > self.newest:
                self.first = min(self.first, self.base)
            self.close_base()
        self.newest = f
        if self.skip is not None and f > self.skip + self.w + 1:
            self.skip = None
        self.settle()

    def settle(self) -> None:
        assert self.newest is not None
        newest = self.open.get(self.newest)
        whole = newest is not None and len(newest.got) == self.P
        while self.base <= self.newest:
            frame = self.open.get(self.base)
            if not (frame and len(frame.got) == self.P) and not (whole and self.newest - self.base >= self.w):
                return
            self.close_base()

    def close_all(self) -> None:
        while self.newest is not None and self.base <= self.newest:
            self.close_base()

    def close_base(self) -> None:
        f, self.base = self.base, self.base + 1
        frame = self.open.pop(f, None)
        if frame is None:
            if f >= self.first:
                self.frames["empty"] += 1
                self.fate["lost"] += self.P
                self.closed[f] = None
        else:
            self.closed[f] = frame
            self.fate["lost"] += self.P - len(frame.got)
            self.frames["complete" if len(frame.got) == self.P else "incomplete"] += 1
            self.frames["bad_pulse"] += frame.flagged
            self.frames["delivered" if frame.has_slot else "exhausted"] += 1
            if frame.has_slot:
                self.done.append((f, frame.pulse_id, frame.flagged, frame.got))
        if f in self.closed:
            # The ring holds one frame for each remainder.
            for old in [g for g in self.closed if g != f and g % REMEMBERED == f % REMEMBERED]:
                del self.closed[old]

    # -- the held stream

    def hold(self, p: Packet) -> None:
        frame = next((h for h in self.held if h.head.frame == p.frame and agree(p, h.head)), None)
        if frame is None and self.held and 0 < p.frame - self.held[-1].head.frame <= self.w + 1:
            if len(self.held) == 2:
                self.give_up(self.held[0])
            frame = ModelFrame(p)
            self.held.append(frame)
        if frame is None:
            if self.held:
                self.votes -= 1
                if self.votes:
                    self.fate["alien"] += 1
                    return
                self.drop()
            frame = ModelFrame(p)
            self.held.append(frame)
            self.main_since = 0
        if p.number in frame.got:
            self.fate["duplicate"] += 1
        else:
            frame.got[p.number] = p.fill
            same = p.pulse == frame.head.pulse or (math.isnan(p.pulse) and math.isnan(frame.head.pulse))
            frame.odd += not same and read(frame.head) is not None
            self.votes = min(self.votes + 1, max(2, self.P // 8))
        if len(self.held) == 2 and self.substantial:
            self.promote()

    @property
    def substantial(self) -> bool:
        return 2 * sum(len(h.got) for h in self.held) >= self.P

    def give_up(self, frame: ModelFrame) -> None:
        self.held.remove(frame)
        self.fate["alien"] += len(frame.got)

    def drop(self) -> None:
        self.rival |= self.substantial
        while self.held:
            self.give_up(self.held[0])
        self.votes = 0

    def fill_in(self, before: int | None = None) -> None:
        if not self.held:
            return
        assert self.newest is not None
        bound = self.newest + self.w + 2 if before is None else before
        fitting = [h for h in self.held if self.newest < h.head.frame < bound and 2 * len(h.got) >= self.P]
        if self.rival:
            fitting = []
        for h in fitting:
            self.held.remove(h)
        for h in fitting:
            self.adopt(h)
        self.drop()

    def adopt(self, h: ModelFrame) -> None:
        if self.newest is not None and h.head.frame > self.newest:
            self.advance(h.head.frame)
        frame = self.begin(h.head)
        frame.got = dict(h.got)
        self.count(frame, len(h.got), h.odd)

    def promote(self) -> None:
        assert self.newest is not None
        held, self.held, self.votes, self.rival = self.held, [], 0, False
        first = held[0].head.frame
        pulse = usable(held[0].head.pulse)
        goes_on = first > self.newest and pulse is not None and pulse == self.expected(first)
        if not (0 < first - self.newest <= self.gap or goes_on):
            self.close_all()
            self.frames["resyncs"] += 1
            self.frames["outages"] += first > self.newest
            self.closed.clear()
            self.reference = self.skip = None
            self.made = []
            self.start(first)
            self.began = self.period = 0.0
        for h in held:
            self.adopt(h)

    # -- time and gate

    def tick(self, now: float) -> None:
        quiet = now - self.heard
        if quiet <= self.flush_s or self.newest is None:
            return
        self.now = now
        self.close_all()
        if self.held and self.substantial and quiet > 3 * self.period:
            self.drop() if self.rival else self.promote()
        elif quiet > 1.0:
            self.closed.clear()

    def flush(self) -> None:
        self.fill_in()
        self.close_all()

    def exhaust(self, exhausted: bool) -> None:
        self.exhausted = exhausted

    def open_gate(self) -> None:
        if self.open:
            self.skip = self.newest
        self.flush()
        self.newest = self.reference = None
        self.made = []
        self.rival = False
        self.closed.clear()
        self.period = 0.0
        self.gate = True

    def close_gate(self) -> None:
        self.fill_in()
        self.gate, self.skip = False, None

    # -- what can be compared

    def packet_counts(self) -> dict[str, int]:
        names = "received placed bad_pulse duplicate late alien malformed disabled lost"
        held = sum(len(h.got) for h in self.held)
        return {**{name: self.fate[name] for name in names.split()}, "held": held}

    def frame_counts(self) -> dict[str, int]:
        names = "complete incomplete empty delivered exhausted bad_pulse resyncs outages"
        return {name: self.frames[name] for name in names.split()}
