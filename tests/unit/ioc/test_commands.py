import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from detectors.config import parse_config
from detectors.errors import CommandError
from detectors.run_state import RunState
from detectors.runtime_names import RuntimeNames
from detectors.stats import OutputStats, ReceiverStatus
from detectors.worker_names import workers
from ioc.commands import Commands
from ioc.face import Face
from ioc.retention import Retention
from ioc.roster import Roster
from ioc.run_control import RunControl
from ioc.runs import Runs
from ioc.settings import Settings
from ioc.supervisor import Supervisor
from ioc.templates import detectors

TEXT = (
    '[detector]\nname = "D"\nprefix = "D:"\n[stream]\nreduced = "tcp://127.0.0.1:9001"\n'
    '[[udp]]\nname = "M00"\nexpect_module_id = 0\nport = 5000\n[[udp]]\nname = "M01"\nexpect_module_id = 1\nport = 5001\n'
)
DISK = '[disk]\nfolder = "/data"\n'


def disk(root: Path) -> str:
    """A [disk] that can be moved below ``root``."""
    return f'{DISK}roots = ["/data", "{root}"]\n'


class Server:
    """The commands of a configuration; ``sent`` is what workers were asked, ``status`` what they answer."""

    def __init__(self, text: str = TEXT + DISK) -> None:
        config = parse_config(text)
        self.sent: list[tuple[Any, ...]] = []
        self.refuse: set[str] = set()
        self.answer: Any = None
        self.status = asdict(
            ReceiverStatus(
                run_state="Enabled",
                disk=OutputStats(name="disk", enabled=True, folder="/data/D"),
                zmq=OutputStats(name="zmq", enabled=True),
            )
        )
        self.roster = Roster(workers(config))
        self.roster.responding = frozenset({"udp.M00", "udp.M01", "stream"})
        self.settings = Settings(config, self.roster)
        self.run = RunControl(
            RunState.ENABLED, self.ask, lambda: [w for w in self.roster.sources if w in self.roster.responding]
        )
        supervisor = Supervisor(
            RuntimeNames("D:"),
            self.roster,
            lambda _w, _s: [],
            lambda _w: self.run.state,
            restart=False,
            drain_s=1.0,
            remote={},
        )
        face = Face(
            config,
            detectors(config)[0],
            self.run,
            self.ask,
            roster=self.roster,
            context=cast("Any", None),  # for live images, which this configuration does not have
            folders={},
        )
        runs = Runs(dict.fromkeys(self.roster.sources, self.run))
        retention = Retention(config, config.disk, self.roster, self.ask) if config.disk else None
        self.commands = Commands(
            self.roster, self.settings, runs, supervisor, self.ask, faces=[face], retention=retention
        )

    async def ask(self, worker: str, command: str, timeout_s: float = 1.0, **args: Any) -> Any:
        if command == "status":
            return self.status
        if worker in self.refuse:
            raise CommandError("no")
        self.sent.append((worker, command, *args.values()))
        return self.answer

    def give(self, handler: str, *words: Any) -> None:
        apply = self.commands.handlers()[handler].apply
        asyncio.run(apply(*words))  # type: ignore[arg-type]

    def shown(self, handler: str, *words: str) -> Any:
        present = self.commands.handlers()[handler].present
        assert present is not None
        return present(*words)


def test_handlers_are_those_that_the_configuration_has_records_for() -> None:
    without = {
        "transition",
        "acquire",
        "acquire_end",
        "worker_run",
        "reset_counters",
        "output_on",
        "reduced_rate",
        "fixed_number",
        "fixed_text",
    }
    assert set(Server(TEXT).commands.handlers()) == without
    assert set(Server().commands.handlers()) == without | {"output_folder", "retention_limit"}


def test_setpoints_start_as_configured() -> None:
    server = Server(TEXT + DISK + "[zmq]\nenabled = false\n")
    assert server.shown("output_on", "udp.M00", "disk") == 1
    assert server.shown("output_on", "all", "zmq") == 0
    assert server.shown("output_folder", "all") == "/data"
    assert server.shown("reduced_rate") == 10.0
    assert server.shown("acquire") == 1


def test_all_means_every_source_and_not_the_assembler() -> None:
    server = Server()
    server.give("output_on", 0, "all", "zmq")
    assert sorted(server.sent) == [("udp.M00", "output", "zmq", False), ("udp.M01", "output", "zmq", False)]
    assert server.shown("output_on", "udp.M01", "zmq") == 0


def test_one_that_refuses_keeps_what_it_has(tmp_path: Path) -> None:
    server = Server(TEXT + disk(tmp_path))
    server.refuse = {"udp.M01"}
    with pytest.raises(CommandError, match=r"^udp.M01: no$"):
        server.give("output_folder", f"{tmp_path}/new", "all")
    assert [server.shown("output_folder", w) for w in ("udp.M00", "udp.M01")] == [f"{tmp_path}/new", "/data"]


def test_a_worker_that_does_not_respond_gets_its_settings_when_it_does(tmp_path: Path) -> None:
    server = Server(TEXT + disk(tmp_path))
    server.roster.responding = frozenset()
    server.give("output_on", 0, "udp.M00", "disk")
    server.give("output_folder", f"{tmp_path}/new", "udp.M00")
    server.give("reduced_rate", 2.0)
    assert server.sent == []
    assert not server.settings.are_configured("udp.M00")
    assert server.settings.are_configured("udp.M01")
    server.status["run_state"] = "Configured"
    asyncio.run(server.commands.settle("udp.M00"))
    asyncio.run(server.commands.settle("stream"))
    assert server.sent == [
        ("udp.M00", "output", "disk", False),
        ("udp.M00", "folder", f"{tmp_path}/new"),
        ("udp.M00", "transition", "BeginRun"),
        ("udp.M00", "transition", "Enable"),
        ("stream", "reduced_rate", 2.0),
    ]
    assert server.run.state is RunState.ENABLED


def test_a_worker_that_ran_before_keeps_its_settings() -> None:
    server = Server()
    server.status["disk"] |= {"enabled": False, "folder": "/moved/D"}
    server.settings.adopt("udp.M00", server.status)
    assert server.shown("output_on", "udp.M00", "disk") == 0
    assert server.shown("output_folder", "udp.M00") == "/moved"
    assert server.shown("output_folder", "udp.M01") == "/data"
    asyncio.run(server.commands.settle("udp.M00"))
    assert server.sent == []


@pytest.mark.parametrize("folder", ["", "here", "./x"])
def test_a_relative_folder_is_refused(folder: str) -> None:
    with pytest.raises(CommandError, match="expected an absolute path"):
        Server().give("output_folder", folder, "all")


@pytest.mark.parametrize("folder", ["/etc", "/dev/shm", "{root}/link/a"])
def test_a_folder_outside_the_roots_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    server = Server(TEXT + disk(tmp_path))
    with pytest.raises(CommandError, match=f"expected a place below the roots /data, {tmp_path}$"):
        server.give("output_folder", folder.replace("{root}", str(tmp_path)), "all")
    assert server.sent == []


def test_a_root_that_is_not_mounted_is_refused(tmp_path: Path) -> None:
    server = Server(TEXT + disk(tmp_path / "disk"))
    with pytest.raises(CommandError, match=r"the root .*/disk does not exist; mount its disk"):
        server.give("output_folder", f"{tmp_path}/disk/a", "udp.M00")
    assert not (tmp_path / "disk").exists()


ELSEWHERE = (
    '[[host]]\nname = "a"\nfolder = "/a"\n[[host]]\nname = "b"\n[control]\nport_base = 52000\ncurve_keys = "/keys"\n'
    '[zmq]\nport_base = 9100\nhost = "10.0.0.1"\n'
)


def hosts(root: Path) -> Server:
    """M00 is on host a, M01 on b."""
    text = TEXT
    for module, host in (("M00", "a"), ("M01", "b")):
        text = text.replace(f'name = "{module}"\n', f'name = "{module}"\nhost = "{host}"\n')
    return Server(text + disk(root) + ELSEWHERE)


def test_folders_begin_as_each_host_has_them(tmp_path: Path) -> None:
    server = hosts(tmp_path)
    assert [server.shown("output_folder", w) for w in ("udp.M00", "udp.M01", "all")] == ["/a", "/data", ""]


def test_a_folder_on_another_host_is_checked_there(tmp_path: Path) -> None:
    server = hosts(tmp_path)
    server.give("output_folder", "/not/here//x/", "udp.M00")
    assert server.sent == [("udp.M00", "folder", "/not/here/x")]
    server.answer = "/mnt/x"  # with that host's symlinks
    server.give("output_folder", "/not/here/x", "udp.M00")
    assert server.shown("output_folder", "udp.M00") == "/mnt/x"
    server.refuse.add("udp.M00")
    with pytest.raises(CommandError, match=r"^udp.M00: no$"):
        server.give("output_folder", "/not/here", "udp.M00")
    assert server.shown("output_folder", "udp.M00") == "/mnt/x"
    with pytest.raises(CommandError, match=r"folder: found 'x', expected an absolute path"):
        server.give("output_folder", "x", "udp.M00")


def test_a_worker_of_another_host_that_does_not_respond_gets_its_folder_when_it_does(tmp_path: Path) -> None:
    server = hosts(tmp_path)
    server.roster.responding = frozenset()
    server.give("output_folder", "/a/x", "udp.M00")
    assert server.sent == []
    server.status["disk"]["folder"] = "/a/D"
    asyncio.run(server.commands.settle("udp.M00"))
    assert ("udp.M00", "folder", "/a/x") in server.sent


def test_all_are_moved_where_the_roots_of_every_host_allow_it_or_none(tmp_path: Path) -> None:
    server = hosts(tmp_path)
    expected = (
        rf"folder: found '/a/x', expected a place below the roots of every host \(a: /a, /data, {tmp_path}; b: /data, "
    )
    with pytest.raises(CommandError, match=expected):
        server.give("output_folder", "/a/x", "all")
    assert server.sent == []
    server.give("output_folder", f"{tmp_path}/x", "all")
    assert sorted(server.sent) == [(w, "folder", f"{tmp_path}/x") for w in ("udp.M00", "udp.M01")]
    assert server.shown("output_folder", "all") == f"{tmp_path}/x"


def test_the_iocs_own_retention_keeps_its_own_sources_only(tmp_path: Path) -> None:
    assert hosts(tmp_path).settings.detector_folders() == []
    assert Server().settings.detector_folders() == [Path("/data/D")]
