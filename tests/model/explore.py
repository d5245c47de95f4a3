"""Visits every state that a model can reach.

``python -m tests.model.explore [controllers]`` prints how many there are, and what is wrong.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass, field

from tests.model import attempts
from tests.model.attempts import World


@dataclass
class Explored:
    """All states with the move that first led to each, and what was wrong."""

    came_from: dict[World, tuple[World, str] | None] = field(default_factory=dict)
    moves: int = 0
    faults: dict[str, World] = field(default_factory=dict)
    endless: list[World] = field(default_factory=list)
    """States from which no end can be reached any more."""

    def way_to(self, world: World) -> list[str]:
        """Return the moves that lead to a state, the first one first."""
        names: list[str] = []
        while (step := self.came_from[world]) is not None:
            world, name = step
            names.append(name)
        return names[::-1]


def explore(controllers: int, *, to_fault: bool = False) -> Explored:
    """Visit all states, breadth first, so that the way to a fault is a shortest one.

    ``to_fault``: only until something is wrong.
    """
    first = attempts.start(controllers)
    explored = Explored({first: None})
    queue = deque([first])
    before: dict[World, list[World]] = {}
    while queue and not (to_fault and explored.faults):
        world = queue.popleft()
        for name, after in attempts.moves(world):
            explored.moves += 1
            faults = [*attempts.faults(world, after)]
            after = after.normal
            for fault in faults:
                explored.faults.setdefault(fault, after)
            if explored.moves % 1_000_000 == 0:
                print(f"{len(explored.came_from)} states, {len(queue)} waiting", file=sys.stderr)
            before.setdefault(after, []).append(world)
            if after not in explored.came_from:
                explored.came_from[after] = world, name
                queue.append(after)
    ends = [world for world in explored.came_from if world.is_over]
    reaching = set(ends)
    pending = deque(ends)
    while pending:
        for earlier in before.get(pending.popleft(), ()):
            if earlier not in reaching:
                reaching.add(earlier)
                pending.append(earlier)
    explored.endless = [world for world in explored.came_from if world not in reaching]
    return explored


def main() -> int:
    """Print what there is; 1 if something is wrong."""
    controllers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    began = time.process_time()
    explored = explore(controllers)
    seconds = time.process_time() - began
    ends = sum(world.is_over for world in explored.came_from)
    print(f"{controllers} controllers, {attempts.ATTEMPTS} attempts of {attempts.PODS} pods: "
          f"{len(explored.came_from)} states, {explored.moves} moves, {ends} ends, {seconds:.1f} s")  # fmt: skip
    for fault, world in explored.faults.items():
        print(f"FAULT: {fault}\n  " + "\n  ".join(explored.way_to(world)) + f"\n  {world}")
    for world in explored.endless[:1]:
        print(f"{len(explored.endless)} states have NO WAY to an end, such as\n  "
              + "\n  ".join(explored.way_to(world)) + f"\n  {world}")  # fmt: skip
    return 1 if explored.faults or explored.endless else 0


if __name__ == "__main__":
    sys.exit(main())
