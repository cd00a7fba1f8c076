"""A PVA client that is commanded over its input: on a host of its own it meets the servers of that host's network."""

from typing import Any

from p4p.client.thread import Context

from sim.console import serve


def main() -> None:
    """Get and put records."""
    with Context("pva", nt=False) as pva:

        def get(names: list[str]) -> dict[str, Any]:
            return {name: _plain(value) for name, value in zip(names, pva.get(names, timeout=20.0), strict=True)}

        def put(name: str, value: Any) -> None:
            pva.put(name, value, timeout=20.0)

        serve({"get": get, "put": put})


def _plain(found: Any) -> Any:
    """Return the value of a record as JSON has it; an enum as its text."""
    value = found.value
    if hasattr(value, "choices"):
        return value.choices[value.index]
    return value.tolist() if hasattr(value, "tolist") else value


if __name__ == "__main__":
    main()
