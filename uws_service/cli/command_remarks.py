"""Applications whose command can't be found on this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping

from uws_service.applications import Application
from uws_service.settings import Settings
from uws_service.sites.local.search_path import search_paths


def command_remarks(settings: Settings, applications: Mapping[str, Application]) -> Iterator[str]:
    """Yield a remark for each command that no process here could run.

    Sites that run container images find commands there.
    """
    if all(site.runs_images for site in settings.sites):
        return
    runs_images = any(site.runs_images for site in settings.sites)
    folders = [folder for site in settings.sites for folder in getattr(site, "path", ())]
    path = search_paths(sys.executable, folders)["PATH"]
    for name, application in applications.items():
        word = application.command[0]
        if "{" in word or (runs_images and application.image):
            continue
        if "/" in word and not word.startswith("/"):
            yield f"{name}: the command {word!r} is looked for in the job's folder; write an absolute path."
        elif shutil.which(word, path=path) is None:
            where = "on this machine" if word.startswith("/") else f"in {path}; elsewhere it needs an absolute path"
            yield f"{name}: there is no command {word!r} {where}."
