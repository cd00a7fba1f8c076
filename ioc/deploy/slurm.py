"""The Slurm job of a configuration: a script for sbatch, a heterogeneous job with one component for each host. Pure.

The form is that of LCLS-II's daqmgr. A component is one step, in which each worker is a task, so that a worker that fails is started
again on its own host, without the scheduler.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detectors.config import Config
from detectors.errors import ConfigError
from detectors.pools.sizing import size_text
from detectors.run_state import RunState
from ioc.deploy.needs import Needs, workers_on
from ioc.supervisor import command_line

RUNTIME_FOLDER: Final = "/dev/shm"  # noqa: S108  the runtime folder itself is one of this account below it
ANYWHERE: Final = ""
"""A node that Slurm chooses."""

_CPUS: Final = 2
"""Processors of a worker: one thread receives, others write and publish."""
_IOC: Final = "ioc"
_IOC_BYTES: Final = 1 << 30
_CONFIG_ERROR: Final = 2


@dataclass(frozen=True, slots=True)
class Component:
    """What runs on one node."""

    name: str
    node: str
    tasks: Mapping[str, Sequence[str]]
    """Arguments of the program by the name of the worker."""
    cpus: int
    """Processors of a task; 0: the whole node, since processors are named by number."""
    memory_bytes: int
    """0: all that the node has."""
    needs: Needs


def components(config: Config, path: Path, ioc_node: str | None) -> dict[str, Component]:
    """Return the components by host, that of the IOC as ``ioc``: first, since the node of the first one runs the script.

    ``ioc_node`` is the node of the IOC, which may be that of a host; None: the IOC is not in the job. Raises ConfigError.
    """
    found = {component.name: component for component in _components(config, path, ioc_node)}
    if not found:
        raise ConfigError(
            "host: found no worker that belongs to one, and no IOC; give sources a host, or leave out --no-ioc"
        )
    return found


def script(found: Sequence[Component], path: Path, command: str, *, partition: str, options: Sequence[str]) -> str:
    """Return the script. ``command`` starts the program; ``options`` are those of sbatch for each component."""
    needs = found[0].needs
    name = f"pebbledaq-{needs.slug}{f'-{found[0].name}' if len(found) == 1 else ''}"
    common = [*([f"--partition={partition}"] if partition else []), "--time=UNLIMITED"]
    common += [f"--signal=TERM@{needs.stop_s}", "--propagate=NONE", *options]
    parts = "\n#SBATCH hetjob\n".join(_resources(component, common) for component in found)
    return f"""\
#!/bin/bash
# Written by `pebbledaq deploy slurm {path}`: write it again when the configuration has changed.
# `scancel JOB` ends it: workers write what they hold, which takes {needs.stop_s} s at most. KillWait of slurm.conf must not be shorter
# (its default is 30); before the end of a time limit they have as long (--signal).
# The limits of slurmd hold, such as those for memory locked and real-time priority, not those of a login (--propagate).
{"".join(_host_needs(component) for component in found)}\
#
#SBATCH --job-name={name}
#SBATCH --output={name}-%j.log
{parts}

# A log for each worker, in a folder for each job.
export LOGS="$PWD/{name}-$SLURM_JOB_ID"
# Sockets and locks, on each node; the runtime folder of a login is not there.
# To look from a shell: XDG_RUNTIME_DIR={RUNTIME_FOLDER} pebbledaq status
export XDG_RUNTIME_DIR={RUNTIME_FOLDER}

{_KEEP.replace("PROGRAM", command)}
task() {{  # task HOST: the task of this number there
  case $1.$SLURM_PROCID in
{"".join(_cases(found))}\
  esac
}}

export -f keep task
{"".join(_step(component, number if len(found) > 1 else None) for number, component in enumerate(found))}\
trap : TERM  # the script itself waits for the workers
until wait; do :; done
"""


_KEEP: Final = f"""\
keep() {{  # keep NAME ARGUMENTS...: run the program, and again when it fails, until the job ends
  local name=$1 delay=1 ended code began
  shift
  mkdir -p "$LOGS" && exec >>"$LOGS/$name.log" 2>&1
  trap ended=yes TERM  # the program has the signal as well: Slurm sends it to all processes
  until [[ $ended ]]; do
    began=$SECONDS
    PROGRAM "$@" &
    until wait $!; code=$?; ! kill -0 $! 2>/dev/null; do :; done  # a signal ends the wait, not the program
    # 0: it was told to end; {_CONFIG_ERROR}: it refuses its configuration.
    [[ ! $ended && $code != 0 && $code != {_CONFIG_ERROR} ]] || exit "$code"
    ((SECONDS - began < 60)) || delay=1
    echo "$name: ended with exit code $code, starts again in $delay s"
    sleep $delay
    ((delay < 30)) && ((delay *= 2))
  done
}}
"""


def _components(config: Config, path: Path, ioc_node: str | None) -> Iterator[Component]:
    names = [host.name for host in config.host]
    ioc = {} if ioc_node is None else {_IOC: ("run", str(path))}
    if ioc and ioc_node not in names:
        needs, local = Needs.of(config), workers_on(config)
        memory = needs.memory_bytes and needs.memory_bytes + _IOC_BYTES if local else _IOC_BYTES
        cpus = 0 if needs.cpus else _CPUS * (1 + len(local))
        yield Component(_IOC, ioc_node or ANYWHERE, ioc, cpus, memory or 0, needs)
    build = command_line(path)
    state = RunState.ENABLED if config.run.autostart else RunState.UNCONFIGURED
    for name in names:
        workers = {
            worker: build(worker, state)[3:]  # without the interpreter
            for worker, source in workers_on(config, name).items()
            if source is None or source.enabled
        }
        here = ioc if name == ioc_node else {}
        if workers or here:
            needs = Needs.of(config, name)
            memory = needs.memory_bytes and needs.memory_bytes + _IOC_BYTES * len(here)
            yield Component(name, name, {**workers, **here}, 0 if needs.cpus else _CPUS, memory or 0, needs)


def _host_needs(component: Component) -> str:
    """Return a comment: what the script cannot set."""
    needs = component.needs
    found = [f"net.core.rmem_max = {needs.receive_buffer}"] if needs.receive_buffer else []
    found += [f"{size_text(needs.shm_bytes)} of /dev/shm"] if needs.shm_why else []
    return f"# {component.name} needs {' and '.join(found)}.\n" if found else ""


def _resources(component: Component, common: Sequence[str]) -> str:
    where = [f"--nodelist={component.node}"] if component.node else []
    cpus = f"--cpus-per-task={component.cpus}" if component.cpus else "--exclusive"
    memory = f"--mem={-(-component.memory_bytes >> 20)}M" if component.memory_bytes else "--mem=0"
    options = [*where, "--nodes=1", f"--ntasks={len(component.tasks)}", cpus, memory, *common]
    return f"# {component.name}: {', '.join(component.tasks)}\n#SBATCH {shlex.join(options)}"


def _cases(components: Sequence[Component]) -> Iterator[str]:
    for component in components:
        for number, (worker, words) in enumerate(component.tasks.items()):
            yield f"    {component.name}.{number}) keep {shlex.join((worker, *words))} ;;\n"


def _step(component: Component, group: int | None) -> str:
    options = [] if group is None else [f"--het-group={group}"]
    options += [f"--ntasks={len(component.tasks)}", *([f"--cpus-per-task={component.cpus}"] if component.cpus else [])]
    options += ["--cpu-bind=none", "--kill-on-bad-exit=0", "--wait=0", "--export=ALL"]
    return f"srun {' '.join(options)} bash -c 'task {component.name}' &\n"
