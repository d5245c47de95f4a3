"""Budgets: what is held for jobs that run, and what those that ended have cost.

All of it happens in the transactions that start and end jobs: the row of a budget is the one place where parallel jobs
meet, and it never holds more than its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.domain.errors import BudgetExceeded
from uws_service.domain.price import Hold, shown_money
from uws_service.store.account_tables import BudgetRow, HoldRow
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.tables import ATTEMPT_TABLE

p = bindparam
_budget: Any = BudgetRow.__table__.c  # type: ignore[attr-defined]
_hold: Any = HoldRow.__table__.c  # type: ignore[attr-defined]
_attempt: Any = ATTEMPT_TABLE.c


def _insert_budget(kind: Any) -> Any:
    zero: Any = literal_column("0")
    statement = kind.insert(BudgetRow).values({"name": p("v_name"), "spent": zero, "held": zero})
    return statement.on_conflict_do_nothing(index_elements=["name"])


def _insert_hold(kind: Any) -> Any:
    statement = kind.insert(HoldRow).values({name: p(f"v_{name}") for name in ("job_id", "budget", "amount")})
    summed = _hold.amount + statement.excluded.amount
    return statement.on_conflict_do_update(index_elements=["job_id", "budget"], set_={"amount": summed})


INSERT_BUDGET = Query(_insert_budget(sqlite), _insert_budget(postgresql))
INSERT_HOLD = Query(_insert_hold(sqlite), _insert_hold(postgresql))
TAKE = Query(
    update(BudgetRow)
    .where(_budget.name == p("key"), _budget.spent + _budget.held + p("amount") <= p("highest"))
    .values(held=_budget.held + p("amount"))
)
BALANCE = Query(select(_budget.spent, _budget.held).where(_budget.name == p("key")))
HOLDS = Query(select(_hold.budget, _hold.amount).where(_hold.job_id == p("of_job")).order_by(_hold.budget))
OPEN_ATTEMPTS = Query(
    select(_attempt.number)
    .where(_attempt.job_id == p("of_job"), _attempt.state != literal_column("'CLOSED'"))
    .limit(p("page", 1))
)
SETTLE = Query(
    update(BudgetRow)
    .where(_budget.name == p("key"))
    .values(spent=_budget.spent + p("cost"), held=_budget.held - p("released"))
)
END_HOLDS = Query(delete(HoldRow).where(_hold.job_id == p("of_job")))
BALANCES = Query(select(_budget.name, _budget.spent, _budget.held).order_by(_budget.name))


class Balance(NamedTuple):
    """What was spent of a budget, and what is held, in millionths of the currency."""

    name: str
    spent: int
    held: int


def take_holds(tx: Transaction, job_id: str, holds: Sequence[Hold]) -> None:
    """Hold amounts for a job that starts, within its transaction.

    Raises
    ------
    BudgetExceeded
        A budget has not enough left: 402, with what is missing; nothing of the transaction is written.
    """
    for hold in sorted(holds):  # always in the same order, so that two transactions never wait for each other
        values = {"key": hold.budget, "amount": hold.amount, "highest": hold.limit}
        if tx.change(TAKE, values) != 1:
            tx.change(INSERT_BUDGET, {"v_name": hold.budget})
            if tx.change(TAKE, values) != 1:
                raise _exceeded(hold, Balance(hold.budget, *tx.rows(BALANCE, {"key": hold.budget})[0]))
        tx.change(INSERT_HOLD, {"v_job_id": job_id, "v_budget": hold.budget, "v_amount": hold.amount})


def _exceeded(hold: Hold, balance: Balance) -> BudgetExceeded:
    def shown(amount: int) -> str:
        return shown_money(amount, hold.currency)

    free = hold.limit - balance.spent - balance.held
    return BudgetExceeded(
        f"The job may cost up to {shown(hold.amount)}, and the budget of {hold.budget} has {shown(max(0, free))} left: "
        f"{shown(hold.amount - max(0, free))} are missing.",
        detail=f"Of {shown(hold.limit)}, {shown(balance.spent)} are spent and {shown(balance.held)} are held for jobs "
        "that have not ended. What such a job does not use is free again when it has ended.",
        missing=hold.amount - max(0, free),
    )


def settle(tx: Transaction, job_id: str, cost: int) -> None:
    """Charge what an attempt has cost to the budgets of its job; once nothing of it is open, nothing is held for it."""
    holds = tx.rows(HOLDS, {"of_job": job_id})
    if not holds:
        return
    ended = not tx.rows(OPEN_ATTEMPTS, {"of_job": job_id})
    for budget, amount in holds:
        tx.change(SETTLE, {"key": budget, "cost": cost, "released": amount if ended else 0})
    if ended:
        tx.change(END_HOLDS, {"of_job": job_id})


class BudgetStore:
    """The balances of budgets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def balances(self) -> list[Balance]:
        """Return the balances of all budgets and periods that were used."""
        return [Balance(*row) for row in await self._database.read(BALANCES, {})]

    async def balance(self, name: str) -> Balance:
        """Return the balance of a budget of one period."""
        rows = await self._database.read(BALANCE, {"key": name})
        return Balance(name, *rows[0]) if rows else Balance(name, 0, 0)
