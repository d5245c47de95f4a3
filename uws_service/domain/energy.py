"""Energy and CO2e of what an attempt reserved and used. Pure.

The rules N-001…N-010: what is reserved draws its idle power, what computes draws more, memory and devices draw their
own; all of it times the site's PUE. Without power or intensity of a site there is no number.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

METHOD = "uws-service/1"
"""The formula's name and version: records keep it, so that later versions do not rewrite the past (N-009)."""
WATTS_PER_GB = 0.3725
"""Of memory, for each 10**9 bytes (Green Algorithms; Karyakin and Salem 2017)."""
GB = 10**9
UNCERTAINTY_RATIO = 0.5
"""Published powers of a core go from 4.6 W (AUDITOR) to 12 W (Green Algorithms' default): half of 10 W either way."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a site's machines draw, in watts (N-001).

    Parameters
    ----------
    core, idle_core
        Of a core at full load, and of a reserved core that does nothing. Equal: energy by
        reservation (PanDA, SCI).
    memory_gb, gpu
        Of 10**9 bytes of memory, of a device.
    pue
        All of the computing centre's energy for each unit that its machines draw.
    embodied_g_per_core_hour
        CO2e of making the machines, in grams for each core and hour (N-003).
    """

    pue: float
    core: float = 10.0
    idle_core: float = 10.0
    memory_gb: float = WATTS_PER_GB
    gpu: float = 200.0
    embodied_g_per_core_hour: float | None = None
    uncertainty: float = UNCERTAINTY_RATIO

    def watt_hours(self, load: Load) -> float:
        """Return the energy of a load."""
        cores = self.idle_core * load.cores * load.wall + (self.core - self.idle_core) * load.cpu
        memory = self.memory_gb * load.memory / GB * load.wall
        return max(0.0, cores + memory + self.gpu * load.gpus * load.wall) / 3600 * self.pue

    def embodied_g(self, load: Load) -> float | None:
        """Return the CO2e of making what was reserved, in grams; reported apart (N-003)."""
        if self.embodied_g_per_core_hour is None:
            return None
        return self.embodied_g_per_core_hour * load.cores * load.wall / 3600


class Load(NamedTuple):
    """What an attempt reserved, for how long, and the CPU time that it used: cores, bytes, seconds."""

    cores: float
    memory: int
    gpus: int
    wall: float
    cpu: float


class Grid(Protocol):
    """Grams of CO2e for each kilowatt-hour of a site's grid."""

    @property
    def source(self) -> str:
        """Return where the figures come from."""

    @property
    def constant(self) -> float | None:
        """Return the figure, if it is always the same."""

    def mean(self, start: int, end: int) -> float:
        """Return the mean over a run, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """Grams of CO2e for each kilowatt-hour of a site's grid, constant or a series in time.

    ``times`` are milliseconds, ascending; each value holds up to the next instant, the last one for ever, the first one
    also before (N-002).
    """

    source: str
    values: Sequence[float]
    times: Sequence[int] = ()

    @property
    def constant(self) -> float | None:
        """Return the figure, if it is always the same."""
        return None if self.times else self.values[0]

    def mean(self, start: int, end: int) -> float:
        """Return the mean over a run, in milliseconds."""
        if not self.times:
            return self.values[0]
        if end <= start:
            return self._at(start)
        edges = [start, *(instant for instant in self.times if start < instant < end), end]
        parts = pairwise(edges)
        return sum(self._at(left) * (right - left) for left, right in parts) / (end - start)

    def _at(self, instant: int) -> float:
        return self.values[max(0, bisect_right(self.times, instant) - 1)]


@dataclass(frozen=True, slots=True)
class Footprint:
    """How a site's energy and CO2e are estimated."""

    power: Power
    intensity: Grid | None = None
    method_id: str = field(init=False)
    """A digest of method and inputs, which records keep."""

    def __post_init__(self) -> None:
        text = json.dumps(self.method(), sort_keys=True)
        object.__setattr__(self, "method_id", hashlib.sha256(text.encode()).hexdigest()[:16])

    def method(self) -> dict[str, Any]:
        """Return the method with its inputs, as it goes out with each figure (N-004)."""
        power = self.power
        reading = "reserved" if power.idle_core == power.core else "used" if power.idle_core == 0 else "mixed"
        inputs: dict[str, Any] = {
            "method": f"{METHOD} {reading}",
            "watts_per_core": power.core,
            "idle_watts_per_core": power.idle_core,
            "watts_per_gb": power.memory_gb,
            "watts_per_gpu": power.gpu,
            "pue": power.pue,
            "measured": False,
            "relative_uncertainty": power.uncertainty,
        }
        if power.embodied_g_per_core_hour is not None:
            inputs["embodied_g_per_core_hour"] = power.embodied_g_per_core_hour
        if self.intensity is not None:
            inputs["intensity_source"] = self.intensity.source
            if self.intensity.constant is not None:
                inputs["intensity"] = self.intensity.constant
        return inputs

    def co2e_g(self, watt_hours: float, start: int, end: int) -> float | None:
        """Return the CO2e of energy that was used in a time, in grams; None without an intensity (N-005)."""
        return None if self.intensity is None else watt_hours / 1000 * self.intensity.mean(start, end)


def shown_grams(grams: float) -> str:
    """Return a mass for people.

    Two significant digits, the unit by size (N-007).
    """
    for unit, factor in (("t", 1e6), ("kg", 1e3), ("g", 1.0), ("mg", 1e-3)):
        if grams >= factor or unit == "mg":
            return f"{_two_digits(grams / factor)} {unit}"
    raise AssertionError("unreachable")


def shown_watt_hours(watt_hours: float) -> str:
    """Return an energy for people (N-007)."""
    for unit, factor in (("MWh", 1e6), ("kWh", 1e3), ("Wh", 1.0), ("mWh", 1e-3)):
        if watt_hours >= factor or unit == "mWh":
            return f"{_two_digits(watt_hours / factor)} {unit}"
    raise AssertionError("unreachable")


def _two_digits(value: float) -> str:
    rounded = float(f"{value:.2g}")
    return f"{rounded:g}" if rounded < 10 else f"{rounded:.0f}"
