"""Long runs of the real main job on simulated sources: ``python -m bench.soak SCENARIO``.

Everything runs as users run it, in processes of its own: the IOC with its workers, a simulator for each source. What
was sent, counted and stored must agree; memory must stay flat; nothing may be left behind.
"""
