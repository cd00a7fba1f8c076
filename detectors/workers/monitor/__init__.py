"""The PvMonitor, by its parts, from the PVs to the outputs.

``worker``       the process: threads, start and end
``intake``       one PV's way in: its source's thread fills memory for updates and posts inputs
``update_slots`` that memory: a slot of the pebble, where the pulse is expected, or of the transition pool
``inbox``        inputs on their way to the data thread, and when it is woken for them
``messages``     inputs and actions, plain values
``machine``      what to do: pure, inputs in, actions out; ``events``, ``memory`` and ``pvs`` are its parts
``data_path``    does it: places events, discards updates, makes and frees buffers, answers commands
``buffers``      the memory and the outputs of a configured monitor; ``store`` has the counts of those before
``tally``        the running counts; ``status`` the snapshot
"""
