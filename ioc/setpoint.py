"""Setpoints: records that take commands, and always show the value in force."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from detectors.errors import PebbleDaqError
from ioc import epics
from ioc.bindings import CommandBinding, Handler
from ioc.refusals import refusal

log = logging.getLogger(__name__)


class Setpoint:
    """A record that takes a command.

    It is busy until the handler has returned, so that a put with completion waits for it, and then shows the value in
    force. A put that is refused ends with an error, and the record has an alarm until the next good one.

    One with a ``leader`` only waits for the end of what that has started.
    """

    def __init__(
        self,
        binding: CommandBinding,
        handler: Handler,
        done: Callable[[str, str | None, float], None],
        putter: Callable[[str], str],
        leader: "Setpoint | None" = None,
    ) -> None:
        self.binding = binding
        self._handler = handler
        self._done = done
        self._putter = putter
        self._leader = leader
        self._loop = asyncio.get_running_loop()
        self._choices = binding.record.choices
        self._shown = self._present()
        self._device = epics.make_device(
            binding.record,
            on_update=self._on_update,
            validate=self._may,
            always_update=True,
            blocking=True,
            initial_value=self._shown,
        )
        self._running = 0

    @property
    def refused(self) -> bool:
        """Whether the last put was refused."""
        return epics.severity(self._device) > 0

    def _present(self) -> Any:
        if self._handler.present is not None:
            return self._handler.present(*self.binding.words)
        return "" if self.binding.record.kind == "waveform" else 0

    def _may(self, _: Any, value: Any) -> bool:
        """Return whether a put is to be handled. For EPICS, in the thread that puts and with the record locked."""
        if self._leader or (self.binding.trigger and not value):
            return True
        name = self.binding.record.name
        log.info("%s: %s -> %s by %s", name, self._text(self._shown), self._text(value), self._putter(name))
        reason = refusal(self.binding.record, value)
        if reason:
            epics.refuse_put(self._device, reason)
            self._loop.call_soon_threadsafe(self._refused, reason)
        return not reason

    def _text(self, value: Any) -> str:
        return self._choices[int(value)] if self._choices and value < len(self._choices) else repr(value)

    def _refused(self, reason: str) -> None:
        log.warning("%s refused: %s", self.binding.record.name, reason)
        self._done(self.binding.record.name, reason, time.monotonic())

    async def _on_update(self, value: Any) -> None:
        if self.binding.trigger and not value:
            return
        self._shown = value
        if self._leader and self._leader.refused:  # nothing was started
            self.refresh()
            return
        reason, begun_s = "", time.monotonic()
        self._running += 1
        try:
            arguments = self.binding.words if self.binding.trigger else (value, *self.binding.words)
            await self._handler.apply(*arguments)
        except PebbleDaqError as error:
            reason = str(error)
        except Exception as error:  # a client's write must never end silently
            reason = f"{type(error).__name__}: {error}"
            log.exception("%s failed", self.binding.record.name)
        finally:
            self._running -= 1
            # Before the put completes: a client that waited for it then reads the outcome.
            if reason:
                self._refused(reason)
            elif not self._leader:  # that has reported the outcome
                self._done(self.binding.record.name, None, begun_s)
            self.refresh()
            if reason:  # after the value, which clears it
                epics.refuse_put(self._device, reason)

    def refresh(self) -> None:
        """Show the value in force, if another is shown."""
        value = self._present()
        if value != self._shown and not self._running:
            self._shown = value
            epics.show(self._device, value)
