"""Which systemd units a configuration needs, on one host or on several. Pure: texts by file name.

A worker of a named host is started by systemd there, and adopted by the IOC. Workers of a kind share a template unit, and
a target starts all that a host has.
"""

from collections.abc import Mapping
from typing import Final

from detectors.config import Config, SourceSection
from detectors.errors import ConfigError
from detectors.run_state import RunState
from ioc.deploy.needs import Needs, workers_on
from ioc.deploy.unit import INSTANCE, KILL_ALL, KILL_IOC, KILL_WORKER, Program, service, target
from ioc.supervisor import command_line

IOC: Final = "ioc"
"""Name of the folder with the files of the IOC's host."""

Files = dict[str, str]


def files_by_host(config: Config, program: Program, *, per_worker: bool) -> dict[str, Files]:
    """Return the files of each host by its name, those of the IOC's as ``ioc``; units in the order in which they start.

    Raises ConfigError when a unit per worker is asked for and the IOC would restart the workers, too.
    """
    found = {host.name: _host(config, program, host.name) for host in config.host if workers_on(config, host.name)}
    return found | {IOC: _ioc_host(config, program, per_worker=per_worker)}


def _host(config: Config, program: Program, host: str) -> Files:
    needs = Needs.of(config, host)
    name = f"pebbledaq-{needs.slug}-{host}"
    files, wanted = _workers(config, program, needs, workers_on(config, host), f"{name}.target")
    return {
        **({f"90-{name}.conf": needs.sysctl()} if needs.receive_buffer else {}),
        **files,
        f"{name}.target": target(needs, program, f"the workers of {host}", wanted),
    }


def _ioc_host(config: Config, program: Program, *, per_worker: bool) -> Files:
    needs = Needs.of(config)
    name = f"pebbledaq-{needs.slug}"
    found = {f"90-{name}.conf": needs.sysctl()} if needs.receive_buffer else {}
    words = "run", program.path
    if not per_worker:
        what, kill = "the IOC and its workers", KILL_ALL
        return found | {f"{name}.service": service(needs, program, *words, what=what, kill=kill)}
    if config.run.restart_workers:
        raise ConfigError(
            "run.restart_workers: found true, expected false where each worker has a unit: systemd restarts them, and the IOC "
            "adopts them; set it to false, or leave out --per-worker"
        )
    files, wanted = _workers(config, program, needs, workers_on(config), f"{name}.target")
    ioc = f"{name}-ioc.service"
    files[ioc] = service(needs, program, *words, what="the IOC", kill=KILL_IOC, target=f"{name}.target", after=wanted)
    return found | files | {f"{name}.target": target(needs, program, "the IOC and all workers", [*wanted, ioc])}


def _workers(
    config: Config, program: Program, needs: Needs, workers: Mapping[str, SourceSection | None], part_of: str
) -> tuple[Files, list[str]]:
    """Return the units of workers, one for each kind, and the units to start: instances of them."""
    state = RunState.ENABLED if config.run.autostart else RunState.UNCONFIGURED
    build = command_line(program.path)
    files: Files = {}
    wanted: list[str] = []
    for worker, source in workers.items():
        kind, _, instance = worker.partition(".")
        words = build(f"{kind}.{INSTANCE}" if instance else kind, state)[3:]  # without the interpreter
        unit = f"pebbledaq-{needs.slug}-{words[0]}" + ("@" if instance else "")
        what = f"worker {kind}.{INSTANCE}" if instance else f"worker {kind}"
        files[f"{unit}.service"] = service(needs, program, *words, what=what, kill=KILL_WORKER, target=part_of)
        if source is None or source.enabled:
            wanted.append(f"{unit}{instance}.service")
    return files, wanted
