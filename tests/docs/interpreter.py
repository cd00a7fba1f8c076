"""A Python that executes the blocks of a page, one after another, in a process of its own: ``python interpreter.py``.

It reads JSON lines from standard input, ``{"code": ..., "name": ...}``, and answers each with a line: the traceback, or an empty one.
What blocks print goes to standard error.
"""

import json
import os
import sys
import traceback


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    names: dict[str, object] = {"__name__": "__main__"}
    sys.path.insert(0, "")
    for line in sys.stdin:
        block = json.loads(line)
        problem = ""
        try:
            exec(compile(block["code"], block["name"], "exec"), names)  # noqa: S102
        except BaseException:  # noqa: BLE001  SystemExit is a failure of a page, too
            problem = traceback.format_exc()
        answers.write(json.dumps(problem) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
