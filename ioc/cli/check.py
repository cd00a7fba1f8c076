"""``pebbledaq check``: a configuration and the host it is for, before data taking."""

import sys
from pathlib import Path

import click

from detectors.errors import ConfigError
from ioc.cli import arguments


@click.command("check")
@arguments.config
@arguments.rate("Frames a second of each source, for the disk.")
@click.option("--host", metavar="NAME", help="This machine is the [[host]] NAME; without it, that of the IOC.")
@arguments.as_json
def command(config: Path, rate_hz: float, host: str | None, as_json: bool) -> None:
    """Check CONFIG, its buffers and records, and this host for what commonly goes wrong, and print remedies.

    With several hosts run it on each: it looks at what runs there.

    Each line is ok, warning or error. Exit code 1 when one is an error, 2 when the configuration itself is wrong.
    """
    from detectors.config import load_config
    from detectors.workers.preflight import Finding, Level, run_checks
    from ioc.progress import working
    from ioc.reports import check
    from ioc.reports.output import print_json

    try:
        loaded = load_config(config)
        findings = list(check.configuration(loaded, host))
    except ConfigError as error:
        if not as_json:
            raise
        print_json(check.as_list([Finding("configuration", Level.ERROR, problem) for problem in error.problems]))
        sys.exit(error.exit_code)
    with working("check: writing 256 MiB to measure the disk"):
        findings += run_checks(loaded, rate_hz=rate_hz, host=host)
    if as_json:
        print_json(check.as_list(findings))
    else:
        check.show(findings)
    sys.exit(int(any(finding.level is Level.ERROR for finding in findings)))
