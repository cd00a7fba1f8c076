"""Help comes at once: no command loads what only its work needs."""

import subprocess
import sys

from detectors import pixels
from ioc.cli.sim import types
from tests.unit.cli.every import every_command

HELP = """
import sys
from click.testing import CliRunner
from ioc.cli import cli
for words in ["", *sys.argv[1:]]:
    done = CliRunner().invoke(cli, [*words.split(), "--help"])
    assert done.exit_code == 0 and done.output.startswith("Usage: "), words
heavy = ("softioc", "p4p", "caproto", "h5py", "numpy", "pydantic", "zmq", "rich", "imagecodecs", "detectors.config")
print(*(name for name in heavy if name in sys.modules))
"""


def test_the_help_of_all_commands_loads_no_heavy_module():
    done = subprocess.run(
        [sys.executable, "-c", HELP, *every_command()], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_the_names_that_help_shows_are_those_that_there_are():
    assert pixels.PIXEL_TYPES == types.PIXEL_TYPES
