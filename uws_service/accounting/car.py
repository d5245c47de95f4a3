"""Compute Accounting Records (CAR), EMI's XML form that APEL reads (ACC-020…ACC-024)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lxml import etree

from uws_service import __version__
from uws_service.accounting.identities import Outside, plain
from uws_service.domain.usage_record import UsageRecord, Waste

CAR_NS = "http://eu-emi.eu/namespaces/2012/11/computerecord"
STATUS = {Waste.NONE: "completed", Waste.INFRASTRUCTURE: "failed", Waste.FAILED: "failed", Waste.ABORTED: "aborted"}


def usage_records(records: Sequence[UsageRecord], outside: Outside) -> bytes:
    """Return a document of attempts whose commands have started."""
    root = etree.Element(_name("UsageRecords"), nsmap={"urf": CAR_NS})
    for record in records:
        if record.is_job:
            _add(root, record, outside)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)


def _name(name: str) -> str:
    return f"{{{CAR_NS}}}{name}"


def _child(parent: etree._Element, tag: str, text: str = "", **attributes: str) -> etree._Element:
    """Add an element.

    Its attributes are in the namespace too (ACC-020).
    """
    element = etree.SubElement(parent, _name(tag), {_name(key): plain(value) for key, value in attributes.items()})
    if text:
        element.text = plain(text)
    return element


def _add(root: etree._Element, record: UsageRecord, outside: Outside) -> None:
    assert record.started is not None
    site = outside.site(record.site)
    element = _child(root, "UsageRecord")
    identity = {"recordId": f"{outside.host}-{record.id}", "createTime": _instant(record.recorded)}
    _child(element, "RecordIdentity", **identity)
    job = _child(element, "JobIdentity")
    _child(job, "GlobalJobId", outside.job_url(record))
    _child(job, "LocalJobId", record.id)
    _add_user(element, record, outside)
    _child(element, "Status", STATUS[Waste(record.waste)])
    if record.exit_code is not None:
        _child(element, "ExitStatus", str(record.exit_code))
    _child(element, "Infrastructure", type=site.infrastructure)
    _child(element, "Middleware", name="uws-service", version=__version__)
    _child(element, "WallDuration", f"PT{record.wall_s}S")
    _child(element, "CpuDuration", f"PT{record.cpu_s}S", usageType="all")
    if record.peak_memory:
        memory = {"type": "Physical", "metric": "max", "storageUnit": "KB"}
        _child(element, "Memory", str(record.peak_memory // 1024), **memory)
    if record.benchmark:
        _child(element, "ServiceLevel", f"{record.benchmark_value:g}", type=record.benchmark)
    _child(element, "TimeInstant", _instant(record.created), type="ctime")
    if record.submitted is not None:
        _child(element, "TimeInstant", _instant(record.submitted), type="qtime")
    _child(element, "NodeCount", "1")
    _child(element, "Processors", str(record.processors))
    _child(element, "StartTime", _instant(record.started))  # of the command, not of its submission (ACC-023)
    _child(element, "EndTime", _instant(max(record.started, record.ended)))
    _child(element, "MachineName", record.site or "none")
    _child(element, "SubmitHost", outside.submit_host(record.application))
    _child(element, "Queue", record.application, description="execution")
    _child(element, "Site", site.name, type="gocdb")


def _add_user(element: etree._Element, record: UsageRecord, outside: Outside) -> None:
    user, organisation = outside.user(record.owner), outside.organisation(record.group)
    identity = _child(element, "UserIdentity")
    if user:
        _child(identity, "GlobalUserName", user, type="OIDC")
    if organisation.vo:
        _child(identity, "Group", organisation.vo)
    if organisation.fqan:
        _child(identity, "GroupAttribute", organisation.fqan, type="FQAN")
    if record.project:
        _child(identity, "GroupAttribute", record.project, type="ProjectName")


def _instant(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat().replace("+00:00", "Z")
