"""Every block of README.md and of the pages below docs/ is run, or checked, by the tests in this folder.

The language of a block says what becomes of it:

``console``
    Is run, page by page and from top to bottom, in a folder that is empty but for a copy of ``examples/``. A line that begins with ``$ ``
    is a command for bash; lines that begin with ``> `` continue it; the lines below are what it prints. That is compared
    without its numbers and the widths of its columns. ``...`` stands for any text, on a line of its own for any lines.

    - A command must end with exit code 0, unless the next one is ``echo $?``.
    - A command that ends in ``&`` runs until ``kill %1`` (``kill %2``, and so on) or the end of the page. What is shown below it is
      waited for; what it prints later is not compared. It must end with exit code 0 when it is killed.
    - Variables and ``cd`` hold until the end of the page.
``toml``, ``python``, ``xml``, ``yaml`` with a file name in a comment on the first line (``# my.toml``, ``# scan.py``, ``<!-- a.xml -->``)
    Is written to that file, in the folder of the page, before what comes after it.
``python`` without a file name
    Is executed, in the folder of the page. The blocks of a page are one program: each may use the names of those before it.
``toml`` without a file name
    Must be a configuration, or a part of one.
``sh``
    Is not run, since it needs root, hardware or a network. Each command of pebbledaq in it must exist, with its options.
``xml``, ``yaml``, ``json``
    Must be well-formed.
``text``
    Is not checked: drawings, layouts, patterns of names.

No block is without a language. Commands between backticks in the text (```pebbledaq sizes CONFIG```) are checked as in ``sh``, and PVs
(``DAQ:JF01:Acquire``, ``$(P)Acquire``) must exist.

So that pages run beside one another and beside a real server, names of the machine are replaced in commands and files: the port behind a
colon, ``port =``, ``port_base =``, ``--port`` or ``sim udp``, the first part of every PV prefix, and the folder ``/tmp``. EPICS servers and clients
of a page meet one another, and nobody else. A page that starts something in the background is marked ``long``.

``python -m tests.docs PAGE...`` runs pages and puts what came out where it differs from what they show.
"""
