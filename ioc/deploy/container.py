"""The container of a configuration: a Containerfile, and the command that runs it with what it needs. Pure."""

import shlex
from pathlib import Path

from detectors.config import Config
from detectors.workers.preflight.packages import needed_extras
from ioc.deploy.needs import OPEN_FILES, Needs

INSIDE = "/etc/pebbledaq.toml"
"""The configuration, in the container."""

SCRIPT = "run-container"


def files(config: Config, path: Path) -> dict[str, str]:
    """Return the files by name. Raises ConfigError when the buffers of the configuration cannot be made."""
    needs = Needs.of(config)
    found = {"Containerfile": _containerfile(needs, _extras(config)), SCRIPT: _script(needs, path)}
    return found | ({f"90-pebbledaq-{needs.slug}.conf": needs.sysctl()} if needs.receive_buffer else {})


def _extras(config: Config) -> str:
    """Return the extras for pip: what the configuration asks for, and ``codecs`` for cameras, which may compress."""
    found = {*needed_extras(config), *(["codecs"] if config.pva else [])}
    return f"[{','.join(sorted(found))}]" if found else ""


def _containerfile(needs: Needs, extra: str) -> str:
    return f"""\
# pebbledaq {needs.prefix}. Build it in a folder with the wheels of pebbledaq and of all that it needs:
#   pip wheel --wheel-dir . "/path/to/the/source{extra}"      (with the Python version of the base)
#   podman build --tag pebbledaq .                            (or buildah build, docker build)
# On a host without the internet: --build-arg PIP_OPTIONS=--no-index, and --build-arg BASE=an image that the site keeps.
ARG BASE=python:3.12-slim
FROM $BASE
ARG PIP_OPTIONS=
COPY *.whl /tmp/wheels/
RUN python3 -m pip install --no-cache-dir --find-links /tmp/wheels $PIP_OPTIONS "pebbledaq{extra}"
# Sockets and locks; a folder of its own mode, which the program checks.
RUN mkdir -m 0700 -p /run/pebbledaq
ENV XDG_RUNTIME_DIR=/run/pebbledaq
# Totals survive the container in a volume.
ENV PEBBLEDAQ_COUNTERS=/var/lib/pebbledaq
VOLUME /var/lib/pebbledaq
# SIGTERM lets the workers write what they hold.
STOPSIGNAL SIGTERM
ENTRYPOINT ["python3", "-m", "ioc"]
CMD ["run", "{INSIDE}"]
"""


def _script(needs: Needs, path: Path) -> str:
    options: list[tuple[str, str]] = [
        ("--network host", "packets of the detector and broadcasts of CA and PVA reach it, without a copy by a proxy"),
        (f"--shm-size {needs.shm_bytes}", f"the pebbles: {needs.shm_why}"),
        (
            f"--ulimit memlock=-1 --ulimit nofile={OPEN_FILES}:{OPEN_FILES}",
            "rings of cards are pinned; data files, clients",
        ),
    ]
    if needs.realtime:
        realtime = f"--ulimit rtprio={needs.realtime} --cap-add SYS_NICE"
        options.append((realtime, "receivers go before all other threads: one that waits loses packets"))
    options.append((f"--stop-timeout {needs.stop_s}", "run.drain_s, and a margin: after that it is killed"))
    options.append((f"--volume {shlex.quote(f'{path}:{INSIDE}:ro')}", "the configuration"))
    options.append(("--volume pebbledaq-state:/var/lib/pebbledaq", "the totals"))
    same = "data, at the same path inside and outside"
    options += [(f"--volume {shlex.quote(f'{folder}:{folder}')}", same) for folder in needs.folders]
    reasons = "\n".join(f"#   {option}\n#       {why}" for option, why in options)
    lines = " \\\n  ".join(option for option, _ in options)
    name = f"pebbledaq-{needs.slug}"
    return f"""\
#!/bin/sh
# Run pebbledaq {needs.prefix} in a container. Before the first time, on the host itself:
#   sysctl -p 90-{name}.conf      net.core.rmem_max is the host's also with --network host
#   mkdir -p {" ".join(shlex.quote(str(folder)) for folder in needs.folders) or "..."}
# ENGINE=docker does the same with docker. How it is: podman exec {name} python3 -m ioc status
#
{reasons}
exec "${{ENGINE:-podman}}" run --rm --name {name} \\
  {lines} \\
  pebbledaq "$@"
"""
