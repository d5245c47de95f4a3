"""The command of cutout applications: ``python -m uws_service.soda.command``.

Reads the job's parameters and the collection's index, and writes into the output folder

- for one cutout ``result.fits``, or ``result.txt`` when the image and the request do not overlap;
- for several ``cutout-0001.fits`` … or ``cutout-0001.txt`` with the reason, and ``cutouts.csv`` that tells which is
  which (SODA 1.0 §4.2, S-004);
- for the first of them a preview as PNG beside it.

Exit code 2: the request is at fault; 1: the collection is, or the machine. The last line of stderr says so with one of
SODA's labels.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from uws_service.domain.errors import ConfigurationError
from uws_service.soda.errors import BadImage, CutoutError, NoOverlap, Unavailable, Usage
from uws_service.soda.index import Entry, Index
from uws_service.soda.request import Cut, Interval, Request, parse

if TYPE_CHECKING:
    from uws_service.soda import cutting


def main() -> int:
    """Run the job."""
    options = _options()
    try:
        values = json.loads((options.input / "parameters.json").read_text(encoding="utf-8"))
        request = parse(_texts(values), options.most_cutouts)
        index = Index(options.images)
        entries = index.find(request.ids)
        for one in request.ids:
            if one not in entries:
                raise Usage(f"ID={one[:200]!r}: there is no such image in this collection.")
        Job(request, entries, index.folder, options).run()
    except CutoutError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, Usage) else 1
    except (ConfigurationError, OSError) as error:  # an index that can't be read, a disk that is full
        reason = error.message if isinstance(error, ConfigurationError) else error.strerror or type(error).__name__
        print(Unavailable(reason), file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    """All of them have their defaults from the service, by the environment."""
    given = os.environ.get
    parser = argparse.ArgumentParser(prog="cut", description=__doc__)
    parser.add_argument("--images", default=given("UWS_IMAGES"), help="the collection's index")
    parser.add_argument("--keys", default=given("UWS_IMAGES_KEYS", ""), help="JSON file with keys for S3")
    parser.add_argument("--most-cutouts", type=int, default=int(given("UWS_IMAGES_CUTOUTS", "500")))
    parser.add_argument("--most-bytes", type=int, default=int(given("UWS_IMAGES_SIZE", str(1024**3))))
    parser.add_argument("--previews", type=int, default=int(given("UWS_IMAGES_PREVIEWS", "20")), help="at most")
    parser.add_argument("--input", type=Path, default=Path(given("UWS_INPUT_DIR", ".")))
    parser.add_argument("--output", type=Path, default=Path(given("UWS_OUTPUT_DIR", ".")))
    options = parser.parse_args()
    if not options.images:
        parser.error("--images is missing")
    return options


def _texts(values: Mapping[str, object]) -> dict[str, list[str]]:
    """One value or a list of them, by parameter name."""
    return {
        name.upper(): [str(one) for one in value] if isinstance(value, list) else [str(value)]
        for name, value in values.items()
    }


class Job:
    """All cutouts of one request."""

    def __init__(self, request: Request, entries: Mapping[str, Entry], folder: Path, options: argparse.Namespace):
        self.request, self.entries, self.folder, self.options = request, entries, folder, options
        self.left: int = options.most_bytes

    def run(self) -> None:
        """Make them; raises `CutoutError` where not even one could be tried."""
        if self.request.count == 1:
            (cut,) = self.request.cuts()
            try:
                print(f"{cut}: {self._cut(cut, 'result')} bytes")
            except NoOverlap as error:
                self._tell("result", error)
            return
        with (self.options.output / "cutouts.csv").open("w", newline="", encoding="utf-8") as file:
            self._several(file)

    def _several(self, file: TextIO) -> None:
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
                self._tell(name, error)
            shown = [cut.shape or "", cut.band or "", cut.time or "", " ".join(cut.pol)]
            table.writerow([f"{name}.{'fits' if size else 'txt'}", cut.id, *shown, size or "", message])
            _progress(number / self.request.count, f"{number} of {self.request.count} cutouts")
        if len(failures) == self.request.count and not any(isinstance(one, NoOverlap) for one in failures):
            raise failures[0]

    def _cut(self, cut: Cut, name: str, number: int = 1) -> int:
        """Write one cutout, and a preview unless there are enough; its size in bytes."""
        from uws_service.soda import cutting
        from uws_service.soda.sources import open_source

        entry = self.entries[cut.id]
        source = open_source(entry.source, self.folder, Path(self.options.keys) if self.options.keys else None)
        image = cutting.open_image(source)
        target: Path = self.options.output / f"{name}.fits"
        try:
            cutting.plan(image, cut, coverage(entry), self.left)
            with target.open("wb") as out:
                cutting.write(image, out)
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
        self.left = max(0, self.left - size)
        if number <= self.options.previews:
            self._preview(target)
        return size

    def _preview(self, cutout: Path) -> None:
        """Beside the cutout; one that can't be made is no fault of the job."""
        from uws_service.soda.preview import write_preview

        target = cutout.with_suffix(".png")
        try:
            write_preview(cutout, target)
        except Exception as error:  # a picture of any data whatever
            target.unlink(missing_ok=True)
            print(f"no preview of {cutout.name}: {type(error).__name__}")

    def _tell(self, name: str, error: CutoutError) -> None:
        """The reason in place of a cutout (S-004)."""
        (self.options.output / f"{name}.txt").write_text(f"{error}\n", encoding="utf-8")
        print(f"{name}: {error}")


def coverage(entry: Entry) -> cutting.Coverage:
    """What the index knows of an image."""
    from uws_service.soda.cutting import Coverage

    band, time = (Interval(*one) if one else None for one in (entry.band, entry.time))
    return Coverage(band, time, entry.pol)


def _progress(fraction: float, text: str) -> None:
    path = os.environ.get("UWS_PROGRESS_FILE")
    if path:
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{fraction:.3f} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
