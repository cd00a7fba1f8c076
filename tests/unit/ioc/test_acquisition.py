import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from detectors.config import parse_config
from detectors.errors import CommandError
from detectors.run_state import RunState, next_state, service_by_label
from detectors.stats import AcquisitionStats
from detectors.worker_names import HDF5, IMAGES, workers
from ioc.acquisition import AcquisitionControl
from ioc.camera import Camera
from ioc.roster import Heard, Roster
from ioc.run_control import RunControl
from ioc.templates import detectors

CONFIG = parse_config(
    '[detector]\nname = "D"\nprefix = "D:"\n[hdf5]\nfolder = "/data"\n[images]\n[[udp]]\nname = "M00"\nport = 5000\n'
)
RECEIVER = "udp.M00"


class Rig:
    """A receiver, a worker that counts and one that could; ``take`` lets images come."""

    def __init__(self, counters: tuple[str, ...] = (HDF5, IMAGES), state: RunState = RunState.UNCONFIGURED) -> None:
        self.roster = Roster(workers(CONFIG))
        self.roster.responding = frozenset({RECEIVER, *counters})
        self.state = state
        self.sent: list[tuple[Any, ...]] = []
        self.refuses: set[str] = set()
        self.on_enable: Callable[[], None] = lambda: None
        self.counts = {name: self._empty() for name in (HDF5, IMAGES)}
        self.pids = {HDF5: 11, IMAGES: 12}
        for name, pid in self.pids.items():
            self.roster.processes[name] = replace(self.roster.processes[name], pid=pid, running=True)
            self.roster.heard[name] = Heard(0.0, {"acquisition": {}}, 1 << 62)
        self.camera = Camera()
        self.run = RunControl(state, self.ask, lambda: {RECEIVER} & self.roster.responding)
        self.control = AcquisitionControl(self.run, self.ask, self.roster, self.camera, detectors(CONFIG)[0])
        self.shown: list[tuple[str, bool]] = []
        self.control.show = self._show

    def _show(self) -> None:
        now = self.control.state, self.control.acquiring
        if now not in self.shown[-1:]:
            self.shown.append(now)

    @staticmethod
    def _empty() -> dict[str, Any]:
        return asdict(AcquisitionStats())

    async def ask(self, worker: str, command: str, timeout_s: float = 2.0, **args: Any) -> Any:
        await asyncio.sleep(0)
        if command == "status":
            return self.status(worker)
        if command in self.refuses:
            raise CommandError(f"{command}: no")
        if command == "transition":
            self.state = next_state(self.state, service_by_label(args["service"]))
            self.sent.append((worker, args["service"]))
            if self.state is RunState.ENABLED:
                self.on_enable()
            return None
        self.sent.append((worker, command, *args.values()))
        count = self.counts.get(worker, {})
        if command == "acquire":
            self.counts[worker] = self._empty() | {
                "number": count["number"] + 1,
                "open": True,
                "images": args["images"],
            }
        if command == "release":
            count["open"] = False
        return None

    def status(self, worker: str) -> dict[str, Any]:
        if worker == RECEIVER:
            return {"run_state": self.state.label}
        if worker not in self.roster.responding:
            raise CommandError("no answer")
        return {"pid": self.pids[worker], "acquisition": dict(self.counts[worker])}

    def take(self, images: int, worker: str = HDF5) -> None:
        count = self.counts[worker]
        count["taken"] += images
        count["good"] += images
        count["open"] &= not count["images"] or count["taken"] < count["images"]

    def kill(self, worker: str) -> None:
        self.roster.responding -= {worker}
        self.roster.processes[worker] = replace(
            self.roster.processes[worker], pid=0, running=False, message="killed by SIGKILL"
        )

    async def put(self, handler: str, *words: Any) -> None:
        if handler == "acquire":
            await self.control.acquire(*words)
        else:
            await (self.control.handlers() | self.camera.handlers())[handler].apply(*words)

    async def begin(self, mode: int, images: int = 1) -> "asyncio.Task[None]":
        """Set the mode, put 1, and return what a put with completion waits for."""
        await self.put("camera_setting", mode, "image_mode")
        await self.put("camera_setting", images, "num_images")
        await self.put("camera_acquire", 1)
        return asyncio.ensure_future(self.control.acquire_end(1))

    def run_test(self, test: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            try:
                async with asyncio.timeout(20):
                    await test()
            finally:
                await self.control.close()

        asyncio.run(main())


SINGLE, MULTIPLE, CONTINUOUS = 0, 1, 2


@pytest.mark.parametrize(("mode", "images"), [(SINGLE, 1), (MULTIPLE, 10)])
def test_an_acquisition_ends_with_its_last_image(mode: int, images: int) -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(mode, 10)
        assert rig.sent[0] == (HDF5, "acquire", images, "fill", 0.0)
        rig.take(images - 1)
        await asyncio.sleep(0.1)
        assert not ended.done()
        assert (rig.control.state, rig.state) == ("Acquire", RunState.ENABLED)
        rig.take(1)
        await ended
        assert (rig.control.state, rig.control.acquiring, rig.state) == ("Idle", False, RunState.CONFIGURED)

    rig.run_test(test)
    assert rig.sent[-2:] == [(HDF5, "release"), (HDF5, "flush")]
    assert rig.shown[-1] == ("Idle", False)


def test_the_start_is_shown_although_the_images_are_there_at_once() -> None:
    rig = Rig()
    rig.on_enable = lambda: rig.take(1)
    times: list[tuple[bool, float]] = []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        rig.control.show = lambda: times.append((rig.control.acquiring, loop.time()))
        await (await rig.begin(SINGLE))

    rig.run_test(test)
    begun, ended = (next(t for on, t in times if on), times[-1][1])
    assert times[-1][0] is False
    assert ended - begun >= 0.045  # EPICS joins posts that are closer


@pytest.mark.parametrize(("mode", "state"), [(MULTIPLE, "Aborted"), (CONTINUOUS, "Idle")])
def test_a_put_of_0_ends_it(mode: int, state: str) -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(mode, 10)
        rig.take(3)
        await rig.put("camera_acquire", 0)
        assert (rig.control.state, rig.control.acquiring, rig.state) == (state, False, RunState.CONFIGURED)
        await ended

    rig.run_test(test)
    assert rig.sent[-2:] == [(HDF5, "release"), (HDF5, "flush")]


def test_images_on_their_way_at_the_stop_belong_to_the_acquisition() -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(MULTIPLE, 4)
        rig.take(1)

        async def come() -> None:
            while rig.state is RunState.ENABLED:  # noqa: ASYNC110  nothing says when it was taken down
                await asyncio.sleep(0)
            for _ in range(3):
                await asyncio.sleep(0.02)
                assert (HDF5, "release") not in rig.sent
                rig.take(1)

        coming = asyncio.ensure_future(come())
        await rig.put("camera_acquire", 0)
        await coming
        await ended
        assert rig.control.state == "Idle"  # all four are there after all

    rig.run_test(test)


def test_a_worker_that_refuses_to_end_its_run_is_asked_again() -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(MULTIPLE, 1)
        rig.refuses = {"transition"}
        rig.take(1)
        await asyncio.sleep(0.5)
        assert (rig.control.state, rig.control.acquiring) == ("Saving", True)
        assert (HDF5, "release") not in rig.sent  # what comes must not get into the file
        rig.refuses = set()
        await ended
        assert (rig.control.state, rig.state) == ("Idle", RunState.CONFIGURED)

    rig.run_test(test)


def test_without_a_run_a_stop_is_accepted() -> None:
    rig = Rig()
    rig.run_test(lambda: rig.put("camera_acquire", 0))
    assert rig.sent == []
    assert rig.control.state == "Idle"


def test_a_loss_that_fails_it_is_shown() -> None:
    rig = Rig()

    async def test() -> None:
        await rig.put("camera_setting", 1, "on_loss")
        await rig.put("camera_setting", 2.0, "acquire_period")
        ended = await rig.begin(MULTIPLE, 10)
        assert rig.sent[0] == (HDF5, "acquire", 10, "fail", 20.0)
        rig.counts[HDF5] |= {"open": False, "error": "no image of pulse 7"}
        await ended
        assert (rig.control.state, rig.control.message) == ("Error", "no image of pulse 7")
        assert (rig.control.acquiring, rig.state) == (False, RunState.CONFIGURED)
        assert rig.sent[-2:] == [(HDF5, "release"), (HDF5, "flush")]
        rig.on_enable = lambda: rig.take(1)
        await (await rig.begin(SINGLE))
        assert (rig.control.state, rig.control.message) == ("Idle", "")

    rig.run_test(test)


@pytest.mark.parametrize("mode", [MULTIPLE, CONTINUOUS])
def test_it_fails_with_the_worker_that_counts(mode: int) -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(mode, 10)
        rig.kill(HDF5)
        await ended

    rig.run_test(test)
    assert rig.control.state == "Error"
    assert rig.control.message == "hdf5, which counts the images: killed by SIGKILL"
    assert rig.state is RunState.CONFIGURED


def test_a_worker_that_was_started_again_counts_no_more() -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(MULTIPLE, 10)
        rig.pids[HDF5] = 99
        rig.counts[HDF5] |= {"number": 0, "open": False}
        await ended

    rig.run_test(test)
    assert rig.control.state == "Error"
    assert rig.control.message.endswith(": it was started again")


def test_a_run_without_an_end_goes_on_without_the_worker_that_counts() -> None:
    rig = Rig()

    async def test() -> None:
        await rig.put("acquire", 1)
        assert rig.sent[0] == (HDF5, "acquire", 0, "fill", 0.0)
        rig.kill(HDF5)
        await asyncio.sleep(0.3)
        assert (rig.control.state, rig.control.acquiring, rig.state) == ("Acquire", True, RunState.ENABLED)
        await rig.put("acquire", 0)
        assert (rig.control.state, rig.state) == ("Idle", RunState.CONFIGURED)

    rig.run_test(test)


def test_the_images_worker_counts_when_there_is_no_writer() -> None:
    rig = Rig((IMAGES,))

    async def test() -> None:
        ended = await rig.begin(MULTIPLE, 2)
        rig.take(2, IMAGES)
        await ended

    rig.run_test(test)
    assert rig.sent[0][0] == IMAGES
    assert rig.sent[-1] == (IMAGES, "release")
    assert rig.control.state == "Idle"


def test_without_a_worker_that_counts_there_is_no_number_of_images() -> None:
    rig = Rig(())

    async def test() -> None:
        with pytest.raises(CommandError, match=r"^no worker counts images: hdf5 and images does not run; "):
            await rig.begin(SINGLE)
        assert rig.sent == []
        ended = await rig.begin(CONTINUOUS)
        assert rig.state is RunState.ENABLED
        await rig.put("camera_acquire", 0)
        await ended

    rig.run_test(test)


def test_no_images_are_refused() -> None:
    rig = Rig()

    async def test() -> None:
        with pytest.raises(CommandError, match="found NumImages 0 with ImageMode Multiple"):
            await rig.begin(MULTIPLE, 0)

    rig.run_test(test)
    assert rig.sent == []


def test_one_at_a_time() -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(MULTIPLE, 2)
        for handler in ("camera_acquire", "acquire"):
            with pytest.raises(CommandError, match="in progress; stop it first"):
                await rig.put(handler, 1)
        rig.take(2)
        await ended
        assert rig.control.state == "Idle"
        await rig.put("acquire", 1)
        await rig.put("acquire", 1)  # the same thing again
        await rig.put("acquire", 0)

    rig.run_test(test)


@pytest.mark.parametrize("refused", ["acquire", "transition"])
def test_a_start_that_is_refused_leaves_nothing_behind(refused: str) -> None:
    rig = Rig()
    rig.refuses = {refused}

    async def test() -> None:
        with pytest.raises(CommandError, match=r"no$"):
            await rig.begin(SINGLE)
        await asyncio.wait_for(rig.control.acquire_end(1), 20)

    rig.run_test(test)
    assert (rig.control.state, rig.control.acquiring) == ("Error", False)
    assert rig.control.message.endswith("no")
    assert not rig.counts[HDF5]["open"]


def test_a_transition_from_outside_ends_it() -> None:
    rig = Rig()

    async def test() -> None:
        ended = await rig.begin(MULTIPLE, 5)
        await rig.run.transition(service_by_label("Disable"))
        await asyncio.sleep(0.4)
        assert rig.control.state == "Aborted"
        assert rig.state is RunState.RUNNING  # no further down than was asked for
        await ended

    rig.run_test(test)


@pytest.mark.parametrize("start", ["acquire", "camera_acquire"])
def test_after_a_transition_from_outside_the_next_one_begins_at_once(start: str) -> None:
    rig = Rig()

    async def test() -> None:
        await rig.put("acquire", 1)
        await rig.run.transition(service_by_label("Disable"))
        await rig.put(start, 1)
        assert rig.state is RunState.ENABLED
        assert (rig.control.state, rig.control.acquiring) == ("Acquire", True)
        await rig.put("acquire", 0)

    rig.run_test(test)


def test_a_run_that_was_begun_by_a_transition_is_an_acquisition() -> None:
    rig = Rig(state=RunState.ENABLED)

    async def test() -> None:
        assert (rig.control.state, rig.control.acquiring) == ("Acquire", True)
        ended = await rig.begin(MULTIPLE, 2)
        rig.take(2)
        await ended
        assert (rig.control.state, rig.state) == ("Idle", RunState.CONFIGURED)

    rig.run_test(test)


def test_a_file_that_cannot_be_flushed_fails_it() -> None:
    rig = Rig()
    rig.refuses = {"flush"}
    rig.on_enable = lambda: rig.take(1)

    async def test() -> None:
        await (await rig.begin(SINGLE))

    rig.run_test(test)
    assert (rig.control.state, rig.control.message) == ("Error", "flush: no")


@pytest.mark.parametrize(
    ("known", "state", "after"),
    [
        ({"open": True, "images": 10, "taken": 9}, "Acquire", "Idle"),
        ({"open": False, "images": 10, "taken": 10}, "Acquire", "Idle"),
        ({"open": False, "images": 10, "taken": 3, "error": "no image of pulse 4"}, "Acquire", "Error"),
    ],
)
def test_an_acquisition_that_ran_before_this_ioc_goes_on(known: dict[str, Any], state: str, after: str) -> None:
    rig = Rig(state=RunState.ENABLED)
    rig.counts[HDF5] |= {"number": 3, **known}

    async def test() -> None:
        status, responding = rig.status(HDF5), rig.roster.responding
        rig.roster.responding = frozenset()
        rig.control.adopt({HDF5: status, RECEIVER: {}})
        assert rig.control.state == state
        await asyncio.sleep(0.1)
        assert rig.sent == []  # not before all respond: the end goes to all of them
        rig.roster.responding = responding
        if known["open"]:
            rig.take(1)
        await asyncio.wait_for(rig.control.acquire_end(1), 20)
        assert (rig.control.state, rig.state) == (after, RunState.CONFIGURED)

    rig.run_test(test)
    assert rig.camera.settings.num_images == 10
    assert rig.camera.settings.image_mode == "Multiple"


def test_a_run_that_no_worker_counts_is_adopted_as_it_is() -> None:
    rig = Rig(state=RunState.ENABLED)

    async def test() -> None:
        rig.control.adopt({HDF5: rig.status(HDF5), RECEIVER: {}})
        assert (rig.control.state, rig.control.acquiring) == ("Acquire", True)
        await rig.put("camera_acquire", 0)
        assert (rig.control.state, rig.state) == ("Idle", RunState.CONFIGURED)

    rig.run_test(test)
