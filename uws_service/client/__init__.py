"""A small client for any UWS 1.1 or 1.0 service, known only by the URL of its job list.

It reads generously (other namespace prefixes, relative links, missing elements, instants with or without zone) and
acts carefully: no entity of an XML document is ever expanded, credentials go to the service's own origin only,
redirects are counted, and an answer that is not UWS is said to be so in one line.

    ClientError                 one line for a person
    ├── NetworkError            no connection, no answer, a broken answer
    ├── ServerError             the server refused or failed; ``status``
    └── BadDocument             the answer is not what UWS says it is
"""

from __future__ import annotations

from uws_service.client.documents import (
    JobDocument,
    JobEntry,
    JobError,
    JobList,
    JobLog,
    JobParameter,
    JobResult,
    format_instant,
    parse_instant,
    parse_job,
    parse_jobs,
)
from uws_service.client.errors import BadDocument, ClientError, NetworkError, ServerError
from uws_service.client.uws import Upload, UwsClient, WaitTimeout

__all__ = [
    "BadDocument",
    "ClientError",
    "JobDocument",
    "JobEntry",
    "JobError",
    "JobList",
    "JobLog",
    "JobParameter",
    "JobResult",
    "NetworkError",
    "ServerError",
    "Upload",
    "UwsClient",
    "WaitTimeout",
    "format_instant",
    "parse_instant",
    "parse_job",
    "parse_jobs",
]
