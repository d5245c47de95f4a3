"""UWS documents and words to values and back (UWS 1.1).

Pure: bytes and values, no I/O.
"""

from uws_service.protocol.uws.json_form import job_json, jobs_json
from uws_service.protocol.uws.values import (
    format_instant,
    parse_after,
    parse_duration,
    parse_instant,
    parse_last,
    parse_phases,
    parse_wait,
    xml_text,
)
from uws_service.protocol.uws.views import JobInfoView, JobRefLike, JobUrls, is_reference, numbered
from uws_service.protocol.uws.xml_form import job_xml, jobrefs, jobs_close, jobs_open, parameters_xml, results_xml

__all__ = [
    "JobInfoView",
    "JobRefLike",
    "JobUrls",
    "format_instant",
    "is_reference",
    "job_json",
    "job_xml",
    "jobrefs",
    "jobs_close",
    "jobs_json",
    "jobs_open",
    "numbered",
    "parameters_xml",
    "parse_after",
    "parse_duration",
    "parse_instant",
    "parse_last",
    "parse_phases",
    "parse_wait",
    "results_xml",
    "xml_text",
]
