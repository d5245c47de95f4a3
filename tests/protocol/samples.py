"""Jobs for tests of documents.

A full one, and any.
"""

from __future__ import annotations

from hypothesis import strategies as st

from uws_service.domain.job import MAX_DURATION, ErrorSummary, Job, Parameter, Phase, Result
from uws_service.domain.jobinfo import JobInfo, LogFile
from uws_service.protocol.uws import JobInfoView, JobUrls, job_xml

URLS = JobUrls("https://uws.example.org/compute/crossmatch/async")
CREATED = 1_795_000_000_123

FULL = Job(
    id="019ab3c0-d2e1-7f3b-9a2c-4d5e6f708192",
    application="crossmatch",
    owner="alice@example.org",
    phase=Phase.ERROR,
    created=CREATED,
    duration=3600,
    destruction=CREATED + 86_400_000,
    run_id="a b&c<é",
    quote=CREATED + 3_600_000,
    queued=CREATED + 1,
    started=CREATED + 2,
    ended=CREATED + 3000,
    parameters=(
        Parameter("RADIUS", "2.5"),
        Parameter("QUERY", "SELECT *\r\nFROM t\nWHERE a < 1 && b > '\u00e9\U0001f52d'\t;"),
        Parameter("POL", "I"),
        Parameter("pol", "bad\x00value"),
        Parameter("UPLOAD", "t,param:tab"),
        Parameter("tab", "my table.vot", upload="jobs/1/uploads/0", media_type="text/xml", size=12),
    ),
    results=(
        Result("result", "k1", "application/x-votable+xml", 2048, "ab" * 32),
        Result("plots/1.png", "k2", "image/png", 0, "cd" * 32),
    ),
    error=ErrorSummary("exit code 3 <&>", reason="ExitCode", detail="line 1\nline 2"),
    info=JobInfo(
        progress=0.425,
        message="half & half",
        site="local",
        site_reason="only one",
        attempt=2,
        logs=(LogFile("stdout", 3, "text/plain"),),
    ),
)

PENDING = Job("1", "crossmatch", None, Phase.PENDING, CREATED, 0, None)


def document(job: Job) -> bytes:
    """Return a job as the service writes it."""
    return job_xml(job, urls=URLS, info=JobInfoView.of(job, URLS))


# Any character that a database and UTF-8 can hold, those that XML can't hold among them.
texts = st.text(max_size=30)
instants = st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999)
sizes = st.integers(min_value=0, max_value=2**63 - 1)
ids = st.from_regex(r"[0-9a-f]{1,32}", fullmatch=True)

parameters = st.builds(
    Parameter, texts, texts, upload=st.none() | texts, media_type=st.none() | texts, size=st.none() | sizes
)
results = st.builds(Result, texts, texts, texts, sizes, st.just("0f" * 32))
errors = st.builds(ErrorSummary, texts, transient=st.booleans(), reason=texts, detail=texts)
infos = st.builds(
    JobInfo,
    progress=st.none() | st.floats(0, 1),
    message=texts,
    waiting=texts,
    ahead=st.none() | st.integers(0, 1000),
    site=texts,
    site_reason=texts,
    data=texts,
    share=texts,
    attempt=st.none() | st.integers(1, 9),
)
jobs = st.builds(
    Job,
    id=ids,
    application=st.just("any"),
    owner=st.none() | texts,
    phase=st.sampled_from(Phase),
    created=instants,
    duration=st.integers(0, MAX_DURATION),
    destruction=st.none() | instants,
    run_id=st.none() | texts,
    quote=st.none() | instants,
    queued=st.none() | instants,
    started=st.none() | instants,
    ended=st.none() | instants,
    parameters=st.lists(parameters, max_size=4).map(tuple),
    results=st.lists(results, max_size=3).map(tuple),
    error=st.none() | errors,
    info=infos,
)
