"""Tables over PV Access: an NTTable each, posted whole, so that a client never gets half of one.

By p4p, beside the records of the same process: a group of waveforms would be as atomic, but has columns of a fixed size. Import it
after EPICS has started: both servers read the same environment.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from p4p import Value
from p4p.nt import NTTable
from p4p.server import Server, StaticProvider
from p4p.server.raw import SharedPV

from detectors.errors import HostError
from detectors.outputs.pva_server import server_conf
from ioc.tables import COLUMNS, Table


class TableServer:
    """Serves the tables of one server as ``$(P)Tables:Pools`` and so on, read-only, on a port of its own."""

    def __init__(self, prefix: str) -> None:
        """Serve empty tables. Raises HostError when it cannot."""
        self._types = {name: NTTable(columns=list(columns.items())).type for name, columns in COLUMNS.items()}
        self._shown: dict[str, Table] = {name: {column: [] for column in columns} for name, columns in COLUMNS.items()}
        self._pvs = {name: SharedPV(initial=self._value(name, table)) for name, table in self._shown.items()}
        provider = StaticProvider("tables")
        for name, pv in self._pvs.items():
            provider.add(f"{prefix}Tables:{name}", pv)
        try:
            self._server = Server([provider], conf=server_conf((), None, os.environ), useenv=False)
        except RuntimeError as error:
            raise HostError(f"ioc: cannot serve tables over PVA: {error}; choose other interfaces") from None

    def show(self, tables: Mapping[str, Table]) -> None:
        """Post the tables that have changed."""
        for name, table in tables.items():
            if table != self._shown[name]:
                self._shown[name] = table
                self._pvs[name].post(self._value(name, table))

    def close(self) -> None:
        """Disconnect all clients."""
        self._server.stop()

    def _value(self, name: str, table: Table) -> Any:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        stamp = {"secondsPastEpoch": seconds, "nanoseconds": nanoseconds}
        return Value(self._types[name], {"labels": list(table), "value": table, "timeStamp": stamp})
