"""The command of cutout applications.

``python -m uws_service.soda.command`` runs it.
Reads the job's parameters and the collection's index, and writes into the output folder

- for one cutout ``result.fits``, or ``result.txt`` when the image and the request do not overlap;
- for several ``cutout-0001.fits`` … or ``cutout-0001.txt`` with the reason, and ``cutouts.csv`` that tells which is
  which (SODA 1.0 §4.2, S-004);
- for the first of them a preview as PNG beside it;
- ``error.json`` with ``type``, ``message`` and ``detail`` when the job fails.

Exit code 2: the request is at fault; 1: the collection is, or the machine. The last line of stderr has the error too,
with one of SODA's labels.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from uws_service.domain.errors import ConfigurationError
from uws_service.soda.errors import BadImage, CutoutError, NoOverlap, Unavailable, Usage
from uws_service.soda.index import Entry, Index
from uws_service.soda.request import Cut, Interval, Request, parse

if TYPE_CHECKING:
    from uws_service.soda import cutout

USAGE_EXIT_CODE, FAILURE_EXIT_CODE = 2, 1
MAX_ERROR_CHARACTERS = 450
"""Of message and detail each: agents ignore an ``error.json`` of more than 3,900 bytes."""


def main() -> int:
    """Run the job."""
    options = _options()
    try:
        values = json.loads((options.input / "parameters.json").read_text(encoding="utf-8"))
        request = parse(_texts(values), options.most_cutouts)
        index = Index(options.images)
        entries = index.find(request.ids)
        for id_ in request.ids:
            if id_ not in entries:
                raise Usage(f"ID={id_[:200]!r}: there is no such image in this collection.")
        Job(request, entries, index.folder, options).run()
    except CutoutError as error:
        return _fail(options.output, error)
    except ConfigurationError as error:  # an index that can't be read
        return _fail(options.output, Unavailable(error.message))
    except OSError as error:  # a disk that is full
        return _fail(options.output, Unavailable(error.strerror or type(error).__name__), _location(error))
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:200]
        return _fail(options.output, BadImage(f"{type(error).__name__}: {text}"), _location(error))
    return 0


def preload() -> None:
    """Import what cutouts need that is imported late.

    For a process that jobs are forked from.
    """
    from PIL import Image

    from uws_service.soda import cutout, preview, sources  # noqa: F401

    Image.preinit()


def warm_up() -> None:
    """Do what every cutout does the first time.

    In the process that waits for its job.
    """
    from astropy.coordinates import SkyCoord

    SkyCoord([10.0], [20.0], unit="deg").transform_to("fk5").spherical_offsets_to(SkyCoord(10, 20, unit="deg").fk5)


def _fail(folder: Path, error: CutoutError, detail: str = "") -> int:
    """Report why the job fails.

    Return the exit code.
    """
    write_error(folder, error, detail)
    print(error, file=sys.stderr)
    return USAGE_EXIT_CODE if isinstance(error, Usage) else FAILURE_EXIT_CODE


def write_error(folder: Path, error: CutoutError, detail: str = "") -> None:
    """Write ``error.json`` at once, so that nobody reads half of it."""
    content = {
        "type": error.label,
        "message": error.message[:MAX_ERROR_CHARACTERS],
        "detail": detail[:MAX_ERROR_CHARACTERS],
    }
    target, partial = folder / "error.json", folder / ".error.json.partial"
    try:
        partial.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8", errors="replace")
        os.replace(partial, target)
    except OSError:  # stderr has the error too
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _location(error: BaseException) -> str:
    """Return where in the program an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name}" if frames else type(error).__name__


class _Parser(argparse.ArgumentParser):
    """A parser that reports wrong options as errors of the job."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        sys.exit(_fail(Path(os.environ.get("UWS_OUTPUT_DIR", ".")), Usage(f"{self.prog}: {message}")))


def _options() -> argparse.Namespace:
    """Read the options.

    The service sets their defaults in the environment.
    """
    variable = os.environ.get
    parser = _Parser(prog="cut", description=__doc__)
    parser.add_argument("--images", default=variable("UWS_IMAGES"), help="the collection's index")
    parser.add_argument("--keys", default=variable("UWS_IMAGES_KEYS", ""), help="JSON file with keys for S3")
    parser.add_argument("--most-cutouts", type=int, default=variable("UWS_IMAGES_CUTOUTS", "500"))
    parser.add_argument("--most-bytes", type=int, default=variable("UWS_IMAGES_SIZE", str(1024**3)))
    parser.add_argument("--previews", type=int, default=variable("UWS_IMAGES_PREVIEWS", "20"), help="at most")
    parser.add_argument("--input", type=Path, default=Path(variable("UWS_INPUT_DIR", ".")))
    parser.add_argument("--output", type=Path, default=Path(variable("UWS_OUTPUT_DIR", ".")))
    options = parser.parse_args()
    if not options.images:
        parser.error("--images is missing")
    return options


def _texts(values: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the values of each parameter as a list of texts."""
    return {
        name.upper(): [str(item) for item in value] if isinstance(value, list) else [str(value)]
        for name, value in values.items()
    }


class Job:
    """All cutouts of one request."""

    def __init__(self, request: Request, entries: Mapping[str, Entry], folder: Path, options: argparse.Namespace):
        self.request, self.entries, self.folder, self.options = request, entries, folder, options
        self.bytes_available: int = options.most_bytes

    def run(self) -> None:
        """Make them; raises `CutoutError` where not even one could be tried."""
        if self.request.count == 1:
            (cut,) = self.request.cuts()
            try:
                print(f"{cut}: {self._cut(cut, 'result')} bytes")
            except NoOverlap as error:
                self._write_reason("result", error)
            return
        with (self.options.output / "cutouts.csv").open("w", newline="", encoding="utf-8") as file:
            self._cut_each(file)

    def _cut_each(self, file: TextIO) -> None:
        table = csv.writer(file)
        table.writerow(["result", "ID", "region", "BAND", "TIME", "POL", "bytes", "message"])
        failures: list[CutoutError] = []
        for number, cut in enumerate(self.request.cuts(), 1):
            name, size, message = f"cutout-{number:04d}", 0, ""
            try:
                size = self._cut(cut, name, number)
            except CutoutError as error:
                failures.append(error)
                message = error.message
                self._write_reason(name, error)
            values = [cut.shape or "", cut.band or "", cut.time or "", " ".join(cut.pol)]
            table.writerow([f"{name}.{'fits' if size else 'txt'}", cut.id, *values, size or "", message])
            _report_progress(number / self.request.count, f"{number} of {self.request.count} cutouts")
        if len(failures) == self.request.count and not any(isinstance(error, NoOverlap) for error in failures):
            raise failures[0]

    def _cut(self, cut: Cut, name: str, number: int = 1) -> int:
        """Write a cutout, and its preview if it is among the first.

        Returns the cutout's size in bytes.
        """
        from uws_service.soda import cutout
        from uws_service.soda.sources import open_source

        entry = self.entries[cut.id]
        source = open_source(entry.source, self.folder, Path(self.options.keys) if self.options.keys else None)
        image = cutout.open_image(source)
        target: Path = self.options.output / f"{name}.fits"
        try:
            cutout.plan(image, cut, coverage(entry), self.bytes_available)
            with target.open("wb") as out:
                cutout.write(image, out)
        except (CutoutError, OSError):
            target.unlink(missing_ok=True)
            raise
        except Exception as error:  # headers can be wrong in more ways than can be foreseen
            target.unlink(missing_ok=True)
            text = " ".join(str(error).split())[:200]
            raise BadImage(f"{source.name} can't be cut: {type(error).__name__}: {text}") from None
        finally:
            image.close()
        size = target.stat().st_size
        self.bytes_available = max(0, self.bytes_available - size)
        if number <= self.options.previews:
            self._preview(target)
        return size

    def _preview(self, cutout: Path) -> None:
        """Write a preview beside the cutout.

        One that can't be made is no fault of the job.
        """
        from uws_service.soda.preview import write_preview

        target = cutout.with_suffix(".png")
        try:
            write_preview(cutout, target)
        except Exception as error:  # a picture of any data whatever
            target.unlink(missing_ok=True)
            print(f"no preview of {cutout.name}: {type(error).__name__}")

    def _write_reason(self, name: str, error: CutoutError) -> None:
        """Write the reason in place of a cutout (S-004)."""
        (self.options.output / f"{name}.txt").write_text(f"{error}\n", encoding="utf-8")
        print(f"{name}: {error}")


def coverage(entry: Entry) -> cutout.Coverage:
    """Return what the index says of an image."""
    from uws_service.soda.cutout import Coverage

    band, time = (Interval(*ends) if ends else None for ends in (entry.band, entry.time))
    return Coverage(band, time, entry.pol)


def _report_progress(fraction: float, text: str) -> None:
    path = os.environ.get("UWS_PROGRESS_FILE")
    if path:
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{fraction:.3f} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
