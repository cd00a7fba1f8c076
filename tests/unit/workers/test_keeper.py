import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import zmq

from detectors.config import Config, parse_config
from detectors.curve import make_keys
from detectors.errors import CommandError, ConfigError, HostError
from detectors.runtime_names import RuntimeNames
from detectors.stats import LimitsShown, OutputStats, ReceiverStatus, to_json
from detectors.workers.commands import request
from detectors.workers.keeper import KeeperPart, kept_host, run
from detectors.workers.runtime import run_part
from tests.support.ports import free_hundred
from tests.support.waiting import until
from tests.unit.buffer.make import RawBuffer

PREFIX = "T:KEEP:"


def hosts(folder: Path, limits: str = "") -> Config:
    """M00 and M01 on daq1, M02 on daq2, and M03 on the IOC's host; all in one folder but for those of daq1."""
    modules = ((0, 'host = "daq1"'), (1, 'host = "daq1"'), (2, 'host = "daq2"'), (3, ""))
    return parse_config(
        f'[detector]\nname = "JF"\nprefix = "{PREFIX}"\n'
        + "".join(
            f'[[udp]]\nname = "M0{n}"\nport = {5000 + n}\nexpect_module_id = {n}\n{host}\n' for n, host in modules
        )
        + f'[[host]]\nname = "daq1"\naddress = "127.0.0.1"\nfolder = "{folder}/one"\n[[host]]\nname = "daq2"\n[[host]]\nname = "idle"\n'
        + f'[control]\nport_base = {free_hundred()}\ncurve_keys = "{folder}/keys"\n[disk]\nfolder = "{folder}/all"\n{limits}\n'
    )


def buffer(folder: Path, *modules: str) -> RawBuffer:
    """Three files of each module, 30, 20 and 10 hours old."""
    raw = RawBuffer(folder / "JF", modules)
    for hours, pulse_id in ((30, 100_000), (20, 101_000), (10, 300_000)):
        then = time.time() - hours * 3600
        for module in modules:
            raw.put(module, pulse_id)
            for path in (raw.path(module, pulse_id), raw.meta(module, pulse_id)):
                os.utime(path, (then, then))
    raw.claim(PREFIX)
    return raw


def left(raw: RawBuffer, module: str) -> list[str]:
    return sorted(path.stem for path in (raw.folder / module).glob("*/*.bin"))


@pytest.fixture
def runtime(short_runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> RuntimeNames:
    monkeypatch.setattr("detectors.workers.keeper.SETTLE_S", 0.0)
    runtime = RuntimeNames(PREFIX)
    runtime.make_folder()
    return runtime


class Keeper:
    """A keeper that runs, as its IOC sees it."""

    def __init__(self, runtime: RuntimeNames, host: str) -> None:
        self._address = runtime.command(f"keeper.{host}")

    def ask(self, command: str, **arguments: Any) -> Any:
        return request(self._address, command, 20.0, **arguments)

    def limit(self, *, command: str = "limits", **limits: float) -> None:
        self.ask(command, **{**asdict(LimitsShown()), **limits})

    def until(self, name: str, value: Any) -> dict[str, Any]:
        return until(lambda: self.ask("status"), lambda status: status["retention"][name] == value)


@contextmanager
def keeping(
    config: Config,
    runtime: RuntimeNames,
    host: str,
    begun: Callable[[dict[str, Any]], bool] = lambda status: status["state"] != "Starting",
) -> Iterator[Keeper]:
    """Run a keeper; ``begun`` says by its status whether it has begun."""
    part = KeeperPart(config, host)
    thread = threading.Thread(target=run_part, args=(part, runtime, 5.0), daemon=True)
    thread.start()
    keeper = Keeper(runtime, host)
    until(lambda: keeper.ask("status"), begun)
    try:
        yield keeper
    finally:
        keeper.ask("stop")
        thread.join(10)
        assert not thread.is_alive()


def test_without_an_ioc_the_configured_limits_are_kept_for_the_hosts_own_modules(
    tmp_path: Path, runtime: RuntimeNames
) -> None:
    one, shared = buffer(tmp_path / "one", "M00", "M01"), buffer(tmp_path / "all", "M02", "M03")
    config = hosts(tmp_path, "keep_hours = 25")
    with keeping(config, runtime, "daq1") as keeper:
        status = keeper.until("files", 4)  # counted again when the others are gone
        assert (status["state"], status["keep"]["hours"], status["retention"]["deleted_files"]) == ("Idle", 25, 2)
    assert left(one, "M00") == left(one, "M01") == ["101000", "300000"]
    assert left(shared, "M02") == ["100000", "101000", "300000"]
    with keeping(config, runtime, "daq2") as keeper:
        keeper.until("deleted_files", 1)
    assert left(shared, "M02") == ["101000", "300000"]
    assert left(shared, "M03") == ["100000", "101000", "300000"]  # of the IOC's host, in the same folder


def test_what_was_deleted_is_counted_over_restarts(tmp_path: Path, runtime: RuntimeNames) -> None:
    buffer(tmp_path / "all", "M02")
    config = hosts(tmp_path, "keep_hours = 25")
    for _ in range(2):
        with keeping(config, runtime, "daq2") as keeper:
            keeper.until("files", 2)
            status = keeper.ask("status")
            assert (status["retention"]["deleted_files"], status["retention"]["files"]) == (1, 2)


def test_limits_are_set_by_command_and_looked_at_before(tmp_path: Path, runtime: RuntimeNames) -> None:
    raw = buffer(tmp_path / "one", "M00", "M01")
    with keeping(hosts(tmp_path), runtime, "daq1") as keeper:
        status = keeper.until("files", 6)
        assert (status["state"], status["keep"]) == ("Off", asdict(LimitsShown()))
        keeper.limit(command="check_limits", hours=15)
        assert keeper.ask("status")["keep"] == asdict(LimitsShown())
        for command in ("check_limits", "limits"):
            with pytest.raises(CommandError, match=r"found -1, expected a positive number, or 0 for no limit"):
                keeper.limit(command=command, hours=-1)
            total = shutil.disk_usage(tmp_path).total
            with pytest.raises(CommandError, match=r"GiB to keep free, but the file system of .* has .*; set less"):
                keeper.limit(command=command, free_gib=total / 2**30)
        keeper.limit(hours=15)
        assert keeper.until("deleted_files", 4)["keep"] == asdict(LimitsShown(hours=15))
    assert left(raw, "M00") == left(raw, "M01") == ["300000"]


def test_an_ioc_sets_its_limits_before_those_of_the_configuration_delete_anything(
    tmp_path: Path, runtime: RuntimeNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.workers.keeper.SETTLE_S", 1e6)
    raw = buffer(tmp_path / "one", "M00", "M01")
    with keeping(
        hosts(tmp_path, "keep_hours = 5"), runtime, "daq1", lambda status: status["keep"]["hours"] == 5
    ) as keeper:
        assert keeper.ask("status")["state"] == "Starting"
        keeper.limit(hours=25)
        keeper.until("deleted_files", 2)
    assert left(raw, "M00") == left(raw, "M01") == ["101000", "300000"]


@pytest.mark.parametrize("limits", [{}, {"hours": 25.0}, {"hours": 0.7, "size_gib": 0.1, "free_gib": 0.3}])
def test_limits_that_were_set_are_kept_by_one_that_is_started_again(
    tmp_path: Path, runtime: RuntimeNames, limits: dict[str, float]
) -> None:
    config = hosts(tmp_path, "keep_hours = 100")
    expected = {"hours": 100.0}
    for keep in (limits, limits, expected):
        with keeping(config, runtime, "daq1") as keeper:
            assert keeper.ask("status")["keep"] == pytest.approx(asdict(LimitsShown(**expected)))
            keeper.limit(**keep)
        expected = keep
    with keeping(hosts(tmp_path, "keep_hours = 50"), runtime, "daq1") as keeper:  # as configured once more
        assert keeper.ask("status")["keep"]["hours"] == 50


def test_it_follows_the_folders_that_receivers_say(tmp_path: Path, runtime: RuntimeNames, stack: ExitStack) -> None:
    buffer(tmp_path / "one", "M00", "M01")
    (tmp_path / "one" / "moved").mkdir()
    buffer(tmp_path / "one" / "moved", "M01")
    context = stack.enter_context(zmq.Context())
    socket = stack.enter_context(context.socket(zmq.PUB))
    socket.linger = 0
    socket.bind(runtime.status("udp.M01"))
    keeper = stack.enter_context(keeping(hosts(tmp_path), runtime, "daq1"))
    keeper.until("files", 6)

    def say(folder: str) -> int:
        snapshot = ReceiverStatus(worker="udp.M01", disk=OutputStats(name="disk", folder=folder))
        socket.send(b"[")  # what is no snapshot
        socket.send(to_json(snapshot))
        return keeper.ask("status")["retention"]["files"]

    until(lambda: say(f"{tmp_path}/one/moved/JF"), lambda files: files == 9)  # M00 is where it was
    assert say("") == 9  # one that starts


def test_an_impossible_limit_is_refused_at_the_start(tmp_path: Path, runtime: RuntimeNames) -> None:
    config = hosts(tmp_path, f"keep_free = {shutil.disk_usage(tmp_path).total}")
    make_keys(tmp_path / "keys", "server")
    with pytest.raises(HostError, match=r"^disk.keep_free: found .* GiB to keep free"):
        run(config, "daq1")


def test_only_hosts_whose_sources_write_have_a_keeper(tmp_path: Path) -> None:
    config = hosts(tmp_path)
    assert kept_host(config, "daq2") == "daq2"
    with pytest.raises(ConfigError, match="keeper: found no name, expected one of daq1, daq2"):
        kept_host(config, None)
    with pytest.raises(ConfigError, match="keeper: found 'idle', expected one of daq1, daq2"):
        kept_host(config, "idle")
    without = parse_config('[detector]\nname = "JF"\nprefix = "T:"\n[[udp]]\nname = "M00"\nport = 5000\n')
    with pytest.raises(ConfigError, match=r"found 'daq1', expected a configuration with a \[\[host\]\] whose sources"):
        kept_host(without, "daq1")
