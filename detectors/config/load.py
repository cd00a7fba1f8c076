"""The whole configuration, and reading it from a file. Every mistake is one line with its place."""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from detectors.config import sections
from detectors.config.checks import disagreements
from detectors.errors import ConfigError


class Config(sections.Section):
    """One detector server."""

    detector: sections.DetectorSection
    run: sections.RunSection = sections.RunSection()
    timing: sections.TimingSection | None = None
    dma: sections.DmaSection = sections.DmaSection()
    pools: sections.PoolsSection = sections.PoolsSection()
    udp: tuple[sections.UdpSection, ...] = ()
    pva: tuple[sections.PvaSection, ...] = ()
    disk: sections.DiskSection | None = None
    zmq: sections.ZmqSection = sections.ZmqSection()
    stream: sections.StreamSection | None = None
    hdf5: sections.Hdf5Section | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if found := list(disagreements(self.udp, self.pva, self.timing)):
            raise ValueError("\n".join(found))
        return self

    def dma_of(self, source: sections.SourceSection) -> sections.DmaSection:
        """Return the DMA ring of a source: its own, or the common one."""
        return source.dma or self.dma

    def pools_of(self, source: sections.SourceSection) -> sections.PoolsSection:
        """Return the pools of a source: its own, or the common ones."""
        return source.pools or self.pools

    def detector_of(self, source: sections.SourceSection) -> str:
        """Return the detector that a source belongs to: modules make up the detector, a PVA source is one of its own."""
        return self.detector.name if isinstance(source, sections.UdpSection) else f"{self.detector.name}-{source.name}"

    def module_of(self, source: sections.SourceSection) -> str:
        """Return the module folder of a source: a PVA detector has the single module M00."""
        return source.name if isinstance(source, sections.UdpSection) else "M00"

    def source(self, kind: Literal["udp", "pva"], name: str | None) -> Any:
        """Return a source by name; without a name the only one.

        Raises ConfigError when there is none of that name, or several and no name.
        """
        table = self.udp if kind == "udp" else self.pva
        found = [entry for entry in table if name in {None, entry.name}]
        if len(found) == 1:
            return found[0]
        names = ", ".join(s.name for s in table) or "none"
        raise ConfigError(f"[[{kind}]]: found {'no name' if name is None else repr(name)}, expected one of: {names}")


def parse_config(text: str, origin: str = "config") -> Config:
    """Return the configuration in TOML text. ``origin`` starts each line of an error.

    Raises ConfigError with every mistake, one line each.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: not TOML: {error}") from None
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in _lines(problem)]
        raise ConfigError(*(f"{origin}: {line}" for line in lines)) from None


def load_config(path: Path | str) -> Config:
    """Return the configuration in a file. Raises ConfigError with every mistake, one line each."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}; give the path of a TOML file") from None
    return parse_config(text, str(path))


def _lines(problem: Any) -> list[str]:
    """Return the lines for one pydantic problem: place, what was found, what was expected."""
    place = ""
    for part in problem["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return [f"{place}: {line}" if place else line for line in message.splitlines()]
    if problem["type"] == "missing":
        return [f"{place}: missing; it is required"]
    if problem["type"] == "extra_forbidden":
        return [f"{place}: unknown key; remove it or correct its spelling"]
    return [f"{place}: found {problem['input']!r}, {message[0].lower()}{message[1:]}"]
