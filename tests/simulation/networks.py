"""Small networks for tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from uws_service.simulation.engine import Simulation
from uws_service.simulation.jobs import draw_load
from uws_service.simulation.network import Network
from uws_service.simulation.scenario import Scenario

SMALL: dict[str, Any] = {
    "sites": [{"name": "a", "slots": 2}, {"name": "b", "slots": 3}, {"name": "c", "slots": 1}],
    "areas": ["tape"],
    "data": [
        {"name": "cube", "count": 20, "bytes": {"median": 2e10, "sigma": 0.5}, "replicas": 2, "popularity": 1},
        {"name": "old", "count": 3, "bytes": {"median": 2e10}, "areas": ["tape"]},
    ],
    "groups": [{"name": "g1", "share": 3, "owners": 2}, {"name": "g2", "owners": 2}],
    "kinds": [
        {"name": "read", "part": 3, "seconds": {"median": 100, "sigma": 1}, "data": ["cube"]},
        {"name": "recall", "seconds": {"median": 50}, "data": ["old", "cube"]},
        {"name": "compute", "seconds": {"median": 50}},
    ],
    "arrivals": {"jobs": 300, "load": 0.9},
}

scenarios = st.builds(
    lambda jobs, load, seed, bursts: Scenario.model_validate(
        {**SMALL, "seed": seed, "arrivals": {"jobs": jobs, "load": load, "bursts": bursts}}
    ),
    st.integers(1, 200),
    st.floats(0.1, 3),
    st.integers(0, 1000),
    st.none() | st.just({"every": 1000, "length": 100, "factor": 10}),
)


def network_of(content: dict[str, Any] | Scenario = SMALL) -> Network:
    """Return the network of a scenario with its jobs."""
    scenario = content if isinstance(content, Scenario) else Scenario.model_validate(content)
    return Network(scenario, draw_load(scenario))


class Watched(Simulation):
    """A simulation that checks each start."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.starts: list[tuple[int, int, float]] = []

    def start(self, job: int, site: int, now: float) -> None:
        """Check that the site has room, and that the job has arrived."""
        assert self.free[site] > 0
        assert now >= self.load.arrival[job]
        self.starts.append((job, site, now))
        super().start(job, site, now)
