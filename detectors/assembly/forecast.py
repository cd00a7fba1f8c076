"""Which pulse the next updates of a PV will belong to, if they go on as the last ones did. Pure."""


class PulseForecast:
    """Expects each pulse as far from the one before as the last two were from each other.

    Updates are numbered as they begin, so that several may be under way.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._settled, self._pulse_id = -1, 0
        """The number of the update settled last, and its pulse; -1 before the first."""
        self._step = 0
        """Between the pulses of the last two consecutive updates; 0 when it is not known."""

    @property
    def last(self) -> int:
        """The pulse of the update settled last; 0 before the first."""
        return self._pulse_id

    @property
    def under_way(self) -> int:
        """How many updates have begun since the one settled last."""
        return self._begun - self._settled - 1

    def begin(self) -> tuple[int, int | None]:
        """Return the number of the update that begins, and the pulse that is expected; None when there is no telling."""
        number = self._begun
        self._begun += 1
        return number, self._pulse_id + (number - self._settled) * self._step if self._step else None

    def settle(self, number: int, pulse_id: int) -> None:
        """Take note of the pulse of an update. Updates are settled in their order; some never are."""
        if self._settled >= 0 and number == self._settled + 1:
            self._step = max(0, pulse_id - self._pulse_id)
        self._settled, self._pulse_id = number, pulse_id
