"""The values of PVs that a capture keeps beside its images: subscribed to while they are asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectors.outputs.hdf5.nd_attributes import Attribute
from detectors.sources.pv_values import PvValues


class AttributeValues:
    """For one thread."""

    def __init__(self) -> None:
        self.missing = 0
        """Values that were asked for while their PV was not connected."""
        self._names: frozenset[str] = frozenset()
        self._pvs: PvValues | None = None

    def subscribe(self, attributes: Sequence[Attribute]) -> None:
        """Subscribe to the PVs of these attributes, and no longer to others."""
        wanted = [attribute for attribute in attributes if attribute.pv]
        names = frozenset(attribute.pv for attribute in wanted)
        if names != self._names:
            self.close()
            text = [attribute.pv for attribute in wanted if attribute.dtype.kind == "S"]
            self._pvs, self._names = (PvValues(sorted(names), text) if names else None), names

    def now(self) -> Mapping[str, Any]:
        """Return the value of each PV that is connected, by name."""
        if self._pvs is None:
            return {}
        values = dict(self._pvs.values)
        self.missing += len(self._names) - len(values)
        return values

    def close(self) -> None:
        """Unsubscribe. Idempotent."""
        if self._pvs:
            self._pvs.close()
        self._pvs, self._names = None, frozenset()
