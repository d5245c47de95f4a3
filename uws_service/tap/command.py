"""The command of a query's job.

It reads parameters and uploads from its input folder, and writes the result into its output folder. Exit code 2 means
that the query, an upload or a limit is at fault; the last line of standard error says why.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from uws_service.domain.errors import UwsError
from uws_service.process_exit import end_process
from uws_service.tap.answer import QueryRequest, QueryRunner
from uws_service.tap.preview_write import Preview
from uws_service.tap.tables_source import TablesSource, prepare


def progress(fraction: float, text: str) -> None:
    """Report how far the job is."""
    path = os.environ.get("UWS_PROGRESS_FILE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{fraction:.2f} {text}\n")


def read_request(environment: dict[str, str]) -> QueryRequest:
    """Return the job's query."""
    inputs = Path(environment["UWS_INPUT_DIR"])
    parameters = json.loads((inputs / "parameters.json").read_text(encoding="utf-8"))
    uploads = inputs / "uploads"
    files = sorted(uploads.iterdir()) if uploads.is_dir() else []
    return QueryRequest(
        query=parameters["QUERY"],
        form=environment["UWS_RESPONSEFORMAT"],
        maxrec=int(environment["UWS_MAXREC"]),
        uploads={file.name: file for file in files},
        seconds=float(environment.get("UWS_QUERY_SECONDS", "86400")),
        memory=int(environment.get("UWS_QUERY_MEMORY", str(2**30))),
    )


def with_sample(source: TablesSource) -> TablesSource:
    """Return the source, or a temporary one with the sample.

    A site may have no catalogue folder; the sample alone can be created there.
    """
    if source.sample and not Path(source.folder).is_dir():
        source = replace(source, folder=str(Path(tempfile.mkdtemp()) / "catalogue"))
        prepare(source)
    return source


def main() -> int:
    """Run the job's query."""
    environment = dict(os.environ)
    output = Path(environment["UWS_OUTPUT_DIR"])
    runner = None
    try:
        request = read_request(environment)
        runner = QueryRunner(
            with_sample(TablesSource.from_environment(environment)), Path(tempfile.mkdtemp(prefix="query-"))
        )
        preview = Preview()
        progress(0.1, "the query runs")
        with (output / "result").open("wb") as file:
            written = 0
            for part in runner.answer(request, preview.watch):
                file.write(part)
                if part and written // 2**24 != (written + len(part)) // 2**24:
                    progress(0.5, f"{preview.count} rows written")
                written += len(part)
        (output / "preview.json").write_text(preview.to_json(), encoding="utf-8")
        for note in runner.notes:
            print(f"Note: {note}.")
        progress(1.0, "; ".join((f"{preview.count} rows", *runner.notes[:5])))
    except UwsError as error:
        (output / "result").unlink(missing_ok=True)
        print(error.message, file=sys.stderr)
        return 2
    finally:
        if runner is not None:
            runner.close()
    return 0


if __name__ == "__main__":
    end_process(main())
