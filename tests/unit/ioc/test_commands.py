import asyncio
from dataclasses import asdict
from typing import Any

import pytest

from detectors.config import Config, parse_config
from detectors.errors import CommandError
from detectors.run_state import RunState
from detectors.runtime import Runtime
from detectors.stats import OutputStats, ReceiverStatus
from ioc.commands import Commands
from ioc.run_control import RunControl
from ioc.supervisor import Supervisor

TEXT = (
    '[detector]\nname = "D"\nprefix = "D:"\n[stream]\nreduced = "tcp://127.0.0.1:9001"\n'
    '[[udp]]\nname = "M00"\nmodule_id = 0\nport = 5000\n[[udp]]\nname = "M01"\nmodule_id = 1\nport = 5001\n'
)
DISK = '[disk]\nfolder = "/data"\n'


class Told:
    """What workers were told; ``status`` is what they answer."""

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.refuses: set[str] = set()
        self.status = asdict(
            ReceiverStatus(
                run_state="Enabled",
                disk=OutputStats(name="disk", enabled=True, folder="/data/D"),
                zmq=OutputStats(name="zmq", enabled=True),
            )
        )

    async def ask(self, worker: str, command: str, timeout_s: float = 1.0, **args: Any) -> Any:
        if command == "status":
            return self.status
        if worker in self.refuses:
            raise CommandError("no")
        self.commands.append((worker, command, *args.values()))
        return None


def made(told: Told, text: str = TEXT + DISK) -> tuple[Commands, RunControl]:
    config: Config = parse_config(text)
    run = RunControl(RunState.ENABLED, told.ask, lambda: commands.sources_responding())  # noqa: PLW0108  made below
    supervisor = Supervisor(Runtime("D:"), [], lambda _w, _s: [], lambda _w: run.state, restart=False)
    commands = Commands(config, run, supervisor, told.ask)
    commands.responding = frozenset({"udp.M00", "udp.M01", "stream"})
    return commands, run


def give(commands: Commands, handler: str, *words: Any) -> None:
    apply = commands.handlers()[handler].apply
    asyncio.run(apply(*words))  # type: ignore[arg-type]


def shown(commands: Commands, handler: str, *words: str) -> Any:
    present = commands.handlers()[handler].present
    assert present is not None
    return present(*words)


def test_handlers_are_those_that_the_configuration_has_records_for() -> None:
    without = {"transition", "acquire", "acquire_end", "worker_enable", "output_enable", "reduced_rate"}
    assert set(made(Told(), TEXT)[0].handlers()) == without
    assert set(made(Told())[0].handlers()) == without | {"output_folder"}


def test_setpoints_start_as_configured() -> None:
    commands, _ = made(Told(), TEXT + DISK + "[zmq]\nenabled = false\n")
    assert shown(commands, "output_enable", "udp.M00", "disk") == 1
    assert shown(commands, "output_enable", "all", "zmq") == 0
    assert shown(commands, "output_folder", "all") == "/data"
    assert shown(commands, "reduced_rate") == 10.0
    assert shown(commands, "acquire") == 1


def test_all_means_every_source_and_not_the_assembler() -> None:
    told = Told()
    commands, _ = made(told)
    give(commands, "output_enable", 0, "all", "zmq")
    assert sorted(told.commands) == [("udp.M00", "output", "zmq", False), ("udp.M01", "output", "zmq", False)]
    assert shown(commands, "output_enable", "udp.M01", "zmq") == 0


def test_one_that_refuses_keeps_what_it_has() -> None:
    told = Told()
    told.refuses = {"udp.M01"}
    commands, _ = made(told)
    with pytest.raises(CommandError, match=r"^udp.M01: no$"):
        give(commands, "output_folder", "/new", "all")
    assert [shown(commands, "output_folder", w) for w in ("udp.M00", "udp.M01")] == ["/new", "/data"]


def test_who_is_away_is_told_when_it_comes() -> None:
    told = Told()
    commands, run = made(told)
    commands.responding = frozenset()
    give(commands, "output_enable", 0, "udp.M00", "disk")
    give(commands, "output_folder", "/new", "udp.M00")
    give(commands, "reduced_rate", 2.0)
    assert told.commands == []
    assert commands.start_state("udp.M00") is RunState.CONFIGURED  # its outputs first
    assert commands.start_state("udp.M01") is RunState.ENABLED
    told.status["run_state"] = "Configured"
    asyncio.run(commands.settle("udp.M00"))
    asyncio.run(commands.settle("stream"))
    assert told.commands == [
        ("udp.M00", "output", "disk", False),
        ("udp.M00", "folder", "/new"),
        ("udp.M00", "transition", "BeginRun"),
        ("udp.M00", "transition", "Enable"),
        ("stream", "reduced_rate", 2.0),
    ]
    assert run.state is RunState.ENABLED


def test_who_ran_before_is_taken_as_it_is() -> None:
    told = Told()
    commands, _ = made(told)
    told.status["disk"] |= {"enabled": False, "folder": "/moved/D"}
    commands.adopt("udp.M00", told.status)
    assert shown(commands, "output_enable", "udp.M00", "disk") == 0
    assert shown(commands, "output_folder", "udp.M00") == "/moved"
    assert shown(commands, "output_folder", "udp.M01") == "/data"
    asyncio.run(commands.settle("udp.M00"))
    assert told.commands == []


@pytest.mark.parametrize("folder", ["", "here", "./x"])
def test_a_relative_folder_is_refused(folder: str) -> None:
    commands, _ = made(Told())
    with pytest.raises(CommandError, match="expected an absolute path"):
        give(commands, "output_folder", folder, "all")
