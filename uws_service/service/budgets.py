"""What changes of jobs that run mean for the budgets that they are paid from."""

from __future__ import annotations

from collections.abc import Sequence

from uws_service.domain.job import FINAL, Job, Phase
from uws_service.domain.meter import Meter
from uws_service.domain.price import Hold
from uws_service.store import Store


class Budgets:
    """The budgets of jobs that were started."""

    def __init__(self, store: Store, meter: Meter) -> None:
        self.store = store
        self.meter = meter

    async def further_holds(self, before: Job, after: Job) -> Sequence[Hold]:
        """Return what must be held beyond what is, for a job that may run longer now.

        Else a job could start with a short limit of time, for which little is held, and then get a long one.
        """
        if not self.meter.budgets or before.phase in FINAL or before.phase is Phase.PENDING:
            return ()
        attempts = await self.store.attempts.of(before.id)
        launch = await self.store.attempts.launch(before.id, attempts[-1].number) if attempts else None
        if launch is None:
            return ()
        first = attempts[0]  # the budgets are those of the time when the job was started
        sites = self.meter.sites
        estimates = [
            self.meter.estimate(sites, launch, job.duration, first.group, first.created) for job in (before, after)
        ]
        difference = (estimates[1].price or 0) - (estimates[0].price or 0)
        if difference <= 0:
            return ()
        further = estimates[1]._replace(price=difference)
        return self.meter.holds(first.owner, first.group, further, first.created)
