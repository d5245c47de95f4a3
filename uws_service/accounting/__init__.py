"""Accounts that leave the service: what attempts used, what it cost, for readers outside.

Usage records are made by the store at the end of each attempt (`uws_service.domain.meter`). Here is what goes out:
messages for APEL, CAR documents, records for AUDITOR, tables; the settings; and the loop that publishes.
"""

from uws_service.accounting.meter import meter_of
from uws_service.accounting.settings import Accounting, SiteAccounting

__all__ = ["Accounting", "SiteAccounting", "meter_of"]
