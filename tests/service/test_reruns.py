"""What jobs that are done anew run with, and which jobs come after a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from uws_service.auth import ANONYMOUS
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.domain.jobinfo import JobInfo
from uws_service.domain.record import InputRecord, Original
from uws_service.runtime import running
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.service.reruns import pinned_image
from uws_service.settings import Settings

PROBE = Path(__file__).with_name("probe.yaml")

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("image", "pulled", "pinned"),
    [
        ("ghcr.io/x/y:1", f"ghcr.io/x/y@{DIGEST}", f"ghcr.io/x/y@{DIGEST}"),
        (f"ghcr.io/x/y@{DIGEST}", "", f"ghcr.io/x/y@{DIGEST}"),
        ("ghcr.io/x/y:1", "", ""),  # nobody knows which one it was
        ("", f"ghcr.io/x/site@{DIGEST}", ""),  # the site's own image, which is not part of the job
    ],
)
def test_pinned_image(image: str, pulled: str, pinned: str) -> None:
    """By its digest, if a registry gave it by that."""
    info = JobInfo(versions={"image": image, "digest": DIGEST}, image=pulled)
    assert pinned_image(Job("j", "a", None, Phase.COMPLETED, 0, 0, None, info=info)) == pinned
    assert JobInfo.from_json(info.to_json()) == info


@pytest.mark.anyio
async def test_what_a_rerun_is_launched_with(tmp_path: Path) -> None:
    """The image by its digest, and the digests that fetched files must have; not with other parameters."""
    files = (
        InputRecord("mine", "uploads/mine", "https://h.example.org/t.csv", 3, {"sha256": "ab" * 32}),
        InputRecord("DATA", "a.fits", "survey:x", 3, {"sha256": "cd" * 32}, True),
    )
    original = Original("0" * 32, f"local/uws-service@{DIGEST}", files)
    settings = Settings.load(data=tmp_path, controller=False, applications=(PROBE,))
    async with running(settings) as runtime:
        service, caller = runtime.service, Caller(ANONYMOUS)
        application = service.application("probe")
        upload = (Parameter("UPLOAD", "mine,https://h.example.org/t.csv?token=x"),)
        job, _ = await service.create(application, caller, Request(upload, run=True, original=original))
        launch = await runtime.store.attempts.launch(job.id, 1)
        assert launch is not None and launch.image == f"local/uws-service@{DIGEST}"
        assert [dict(item.checksums) for item in launch.inputs] == [{"sha256": "ab" * 32}]
        assert [(record.source, record.path) for record in job.info.inputs] == [
            ("https://h.example.org/t.csv", "uploads/mine")
        ]
        plain, _ = await service.create(application, caller, Request(upload, original=original))
        changed = await service.set_parameters("probe", plain.id, caller, Request((Parameter("TAG", "x"),)))
        assert changed.info.original is None
        await service.run("probe", plain.id, caller)
        launch = await runtime.store.attempts.launch(plain.id, 1)
        assert launch is not None and launch.image == "local/uws-service" and not launch.inputs[0].checksums


@pytest.mark.anyio
async def test_who_comes_after_a_job(tmp_path: Path) -> None:
    """The index of jobs that name results follows parameters and deletions."""
    source = "0123456789abcdef0123456789abcdef"
    value = f"https://h.example.org/crossmatch/async/{source}/results/result"
    async with running(Settings.load(data=tmp_path, controller=False, applications=(PROBE,))) as runtime:
        service, sources, caller = runtime.service, runtime.store.sources, Caller(ANONYMOUS)
        application = service.application("probe")
        first, _ = await service.create(
            application, caller, Request((Parameter("TAG", value), Parameter("TAG", value)))
        )
        second, _ = await service.create(application, caller, Request((Parameter("TAG", "x"),)))
        assert await sources.followers(source, 10) == [("probe", first.id)]
        await service.set_parameters("probe", second.id, caller, Request((Parameter("TAG", value),)))
        assert await sources.followers(source, 10) == sorted([("probe", first.id), ("probe", second.id)])
        assert len(await sources.followers(source, 1)) == 1
        await service.delete("probe", first.id, caller)
        assert await sources.followers(source, 10) == [("probe", second.id)]
        assert await sources.followers("f" * 32, 10) == []
