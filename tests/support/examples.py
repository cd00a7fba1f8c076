"""The example configurations as tests run them: their own ports, prefix and folder replaced, all else as it stands."""

import random
import re
import string
from pathlib import Path

from tests.support.ports import free_ports
from tests.support.senders import PATIENT

EXAMPLES = Path(__file__).parents[2] / "examples"

_PORTS = re.compile(r"(?<=port = )\d+|(?<=tcp://127\.0\.0\.1:)\d+")


def write_example(name: str, folder: Path) -> Path:
    """Write the example called ``name`` to ``folder``, where its data goes too; return its path."""
    text = (EXAMPLES / f"{name}.toml").read_text()
    prefix = "T" + "".join(random.choices(string.ascii_uppercase, k=8)) + ":"
    text = re.sub(r'(?<=prefix = ")[^"]+', prefix, text)
    text = re.sub(r'(?<=^folder = ")[^"]+/([^"/]+)"', rf'{folder}/\1"', text, flags=re.MULTILINE)
    text = text.replace("[[udp]]\n", f"[[udp]]\n{PATIENT}")
    text = text.replace("[disk]\n", '[disk]\nmin_free = "64 MiB"\n')
    ports = iter(free_ports(len(_PORTS.findall(text))))
    text = _PORTS.sub(lambda _: str(next(ports)), text)
    text = text.replace("port_base = 9100\n", "")  # it asks for several ports in a row: ipc does without
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path
