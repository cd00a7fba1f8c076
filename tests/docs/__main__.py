"""``python -m tests.docs PAGE...`` runs pages, and puts what came out where it differs from what they show."""

import sys
from pathlib import Path

from tests.docs.blocks import Step, page_id
from tests.docs.shape import agrees
from tests.docs.walk import walk


def renew(page: Path) -> int:
    """Renew a page; return how many of its commands printed something else than it shows."""
    text = page.read_text()
    differing: list[tuple[Step, list[str]]] = []

    def judge(step: Step, printed: list[str]) -> None:
        sys.stdout.write(f"$ {step.command}\n" + "".join(f"{line}\n" for line in printed))
        if not agrees(step.shown, printed, to_the_end=not step.in_background) or (printed and not step.shown):
            differing.append((step, printed))

    try:
        walk(page_id(page), text, judge, fill=True)
    finally:
        lines = text.splitlines()
        for step, printed in reversed(differing):
            lines[step.shown_from - 1 : step.shown_from - 1 + len(step.shown)] = [line.rstrip() for line in printed]
        page.write_text("\n".join(lines) + "\n")
    return len(differing)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        found = renew(Path(name).resolve())
        sys.stdout.write(f"{name}: {found} commands printed something else\n")
