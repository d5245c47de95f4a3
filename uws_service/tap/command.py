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
from uws_service.tap.tap_schema import TABLES


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


def preload() -> None:
    """Import what queries need late, and do what needs no thread once: for a process that jobs are forked from."""
    import pyarrow as pa

    from uws_service.adql import translate
    from uws_service.adql.model import Column
    from uws_service.tap.engines import duckdb, parquet, postgresql, sandbox  # noqa: F401
    from uws_service.tap.readers import binary, compression, delimited, ecsv, fits, votable  # noqa: F401
    from uws_service.tap.writers import WRITERS, Document, Rows

    translate("SELECT TOP 1 table_name FROM TAP_SCHEMA.tables WHERE table_index = 1", TABLES, "duckdb")
    sandbox.prepare_spare()
    columns = (Column("text", "char", "*"), Column("number", "double"))
    batch = pa.record_batch([["x"], [1.5]], ["text", "number"])
    for form in ("votable", "votable/b2", "csv"):
        rows = Rows(iter([batch]), columns, 1, Preview().watch)
        b"".join(WRITERS[form](Document(columns, "", ()), rows))


def warm_up() -> None:
    """Do what every query does the first time.

    In the process that waits for its job.
    """
    from uws_service.tap.engines import sandbox

    sandbox.warm_spare()


def main() -> int:
    """Run the job's query."""
    environment = dict(os.environ)
    output = Path(environment["UWS_OUTPUT_DIR"])
    try:
        request = read_request(environment)
        # Never closed: the process ends, and what it leaves on disk lies in the job's own folder.
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
    return 0


if __name__ == "__main__":
    end_process(main())
