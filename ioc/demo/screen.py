"""The end of the demo on the screen: what was compared."""

from collections.abc import Sequence

from rich.table import Table

from ioc.demo.audit import Line


def summary(lines: Sequence[Line]) -> Table:
    """Return the comparisons as a table: those that agree in one line for each source, the others in full."""
    table = Table(title="What was sent, counted and stored", title_justify="left")
    table.add_column("")
    table.add_column("found", justify="right")
    table.add_column("expected", justify="right")
    table.add_column("")
    for line in lines:
        if line.expected or line.found:
            table.add_row(line.what, str(line.found), str(line.expected), "ok" if line.agrees else "[bold red]WRONG[/]")
    zeros = sum(not (line.expected or line.found) for line in lines)
    table.add_row(f"{zeros} more: losses, differences, sums in minus out", "0", "0", "ok")
    return table
