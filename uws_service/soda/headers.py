"""The header of a part of an image. Pure.

Every keyword that names pixels is moved along.
What can't be said of a part, such as sums over all pixels, is left out, and a HISTORY card says so. Pixel ``p`` of an
axis of the whole image is pixel ``(p - 1 - start) / step + 1`` of the part (FITS 4.0 §8 counts from 1).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from astropy.io import fits

from uws_service.soda import sections
from uws_service.soda.axes import Pick
from uws_service.soda.errors import BadImage

SUMS = ("CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM")
_WHOLE_ONLY = frozenset(
    "DATAMIN DATAMAX IRAF-MIN IRAF-MAX GOODMIN GOODMAX GOODMEAN NGOODPIX SNRMIN SNRMAX SNRMEAN S_REGION".split()
)
"""Statistics of all pixels, and the outline of the whole."""
_WORLD = re.compile(r"(?:WCSAXES|WCSNAME|(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT)\d+|(?:PC|CD|PV|PS)\d+_\d+)([A-Z]?)")
"""Keywords of a coordinate system, with the letter of an alternative one."""
_PIXELS = re.compile(
    r"CRPIX\d+[A-Z]?|OCRPIX\d|CDELT\d+[A-Z]?|(?:PC|CD)\d+_\d+[A-Z]?|CNPIX[12]|LT[VM]\d+(?:_\d+)?|[XY]ORGSUBF"
)
"""Keywords whose value depends on where pixels lie, beside sections of CCDs."""
_INHERITED = re.compile(
    r"(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME|CRDER|CSYER)\d+[A-Z]?|(?:PC|CD|PV|PS)\d+_\d+[A-Z]?"
    r"|[AB]P?_(?:ORDER|DMAX|\d+_\d+)|(?:CPDIS|CQDIS|D2IMDIS|CPERR|CQERR|D2IMERR)\d+[A-Z]?|(?:DP|DQ|D2IM)\d+[A-Z]?(?:\..*)?"
    r"|(?:WCSAXES|WCSNAME|LONPOLE|LATPOLE|RADESYS|EQUINOX|SPECSYS|SSYSOBS|SSYSSRC|VELOSYS|ZSOURCE|VELANGL|RESTFRQ|RESTWAV"
    r")[A-Z]?|RADECSYS|EPOCH|RESTFREQ|VELREF|MJDREF[IF]?|DATEREF|JDREF[IF]?|TIMESYS|TIMEUNIT|TREFPOS|WAT\d+_\d+"
    r"|AMD[XY]\d+|PLT[A-Z]+|PPO\d|[XY]PIXELSZ|CNPIX[12]|LT[VM]\d+(?:_\d+)?|AXISCORR"
)
"""Keywords of coordinates, which an extension may have from the primary header."""
_STRUCTURE = re.compile(r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BSCALE|BZERO|BLANK|BUNIT|DATAM(?:IN|AX)")


def with_inherited(header: fits.Header, primary: fits.Header) -> fits.Header:
    """Return a header with inherited coordinates (FITS 4.0 §4.4.2.6).

    A primary header that has an image of its own is not inherited: its coordinates are those of its pixels.
    """
    result = header.copy()
    if header.get("INHERIT") is not True or header is primary or primary.get("NAXIS") != 0:
        return result
    keywords = set(header)
    for card in primary.cards:
        if card.keyword not in keywords and _is_inherited(card.keyword, card.value):
            result.append(card)
    return result


def _is_inherited(key: str, value: Any) -> bool:
    return _INHERITED.fullmatch(key) is not None or sections.parse(value) is not None


def of_primary(primary: fits.Header, parts: Iterable[fits.Header]) -> fits.Header:
    """Return the primary header of a file of extensions.

    It has no pixels, and says nothing of any.
    """
    parts = list(parts)
    result = fits.PrimaryHDU().header
    had_image = primary.get("NAXIS") != 0
    inherited = any(part_header.get("INHERIT") is True for part_header in parts)
    for card in primary.cards:
        key = card.keyword
        if key in SUMS or _STRUCTURE.fullmatch(key) or (had_image and key in _WHOLE_ONLY):
            continue
        placed = _PIXELS.fullmatch(key) is not None or sections.parse(card.value) is not None
        if (had_image and _is_inherited(key, card.value)) or (inherited and placed):
            continue  # the images have their own
        result.append(card, end=True)
    result["EXTEND"] = True
    return result


def of_part(header: fits.Header, picks: Sequence[Pick], notes: Sequence[str] = ()) -> fits.Header:
    """Return the header for a part of the image.

    ``notes`` go into its HISTORY.

    Raises
    ------
    BadImage
        A keyword that has to be moved is no number.
    """
    part = header.copy()
    _drop_repeated(part)
    for number, pick in enumerate(picks, 1):
        _resize(part, number, pick)
        if pick.is_whole:
            continue
        _move_world(part, number, pick)
        _move_plate(part, number, pick)
        _move_physical(part, number, pick)
    dropped = [key for key in SUMS if key in part]
    if not all(pick.is_whole for pick in picks):
        left_out = _cut_sections(part, header, picks) + [key for key in part if key in _WHOLE_ONLY]
        dropped += left_out
        notes = [*notes, *([f"Not true of a part, left out: {', '.join(left_out)}"] if left_out else [])]
    for key in dropped:
        part.remove(key, ignore_missing=True, remove_all=True)
    ranges = ",".join(f"{pick.start + 1}:{pick.stop}{':' + str(pick.step) if pick.step > 1 else ''}" for pick in picks)
    for text in (f"Cut out of [{ranges}]", *notes):
        part.add_history(text)
    return part


def _drop_repeated(header: fits.Header) -> None:
    """Drop all but the last of repeated keywords.

    It counts for wcslib; astropy would change the first.
    """
    for key, count in Counter(card.keyword for card in header.cards).items():
        if count > 1 and _PIXELS.fullmatch(key):
            value = header[(key, count - 1)]
            header.remove(key, remove_all=True)
            header[key] = value


def _resize(header: fits.Header, number: int, pick: Pick) -> None:
    """Set NAXISn, and other keywords that repeat it."""
    header[f"NAXIS{number}"] = pick.count
    for key in (f"IMNAXIS{number}", f"ONAXIS{number}", {1: "IMAGEW", 2: "IMAGEH"}.get(number, "")):
        if key and header.get(key) == pick.size:
            header[key] = pick.count


def _move_world(header: fits.Header, number: int, pick: Pick) -> None:
    """Move reference pixels and scales (FITS 4.0 §8.2)."""
    for letter in sorted({match[1] for key in header if (match := _WORLD.fullmatch(key))}):
        key = f"CRPIX{number}{letter}"
        if key in header or number <= int(header.get(f"WCSAXES{letter}", number)):
            header[key] = pick.place(_number(header, key))
        if pick.step != 1:
            _widen(header, number, letter, pick.step)
    if f"OCRPIX{number}" in header:  # the coordinates before a correction, as STScI keeps them
        header[f"OCRPIX{number}"] = pick.place(_number(header, f"OCRPIX{number}"))


def _widen(header: fits.Header, axis: int, letter: str, step: int) -> None:
    """Multiply the scale of an axis by ``step``."""

    def column(kind: str) -> list[str]:
        return [key for key in header if re.fullmatch(rf"{kind}\d+_{axis}{letter}", key)]

    turned = any(key != f"PC{axis}_{axis}{letter}" and header[key] for key in column("PC"))
    if keys := column("CD"):
        keys = [*keys, f"CDELT{axis}{letter}"] if f"CDELT{axis}{letter}" in header else keys
    elif turned:
        keys = list(dict.fromkeys([*column("PC"), f"PC{axis}_{axis}{letter}"]))
    else:
        keys = [f"CDELT{axis}{letter}"]
    for key in keys:
        header[key] = _number(header, key, 1.0) * step


def _move_plate(header: fits.Header, number: int, pick: Pick) -> None:
    """Move CNPIX of plates of the Digitized Sky Survey.

    It says where the image begins on the plate.
    """
    key = f"CNPIX{number}"
    if number <= 2 and (key in header or "AMDX1" in header):
        header[key] = _number(header, key, 0) + pick.start
    key = {1: "XORGSUBF", 2: "YORGSUBF"}.get(number, "")
    if key in header:
        header[key] = _number(header, key) + pick.start


def _move_physical(header: fits.Header, number: int, pick: Pick) -> None:
    """Move LTV and LTM, IRAF's way from detector to image."""
    matrix_keys = [key for key in header if re.fullmatch(rf"LTM{number}_\d+", key)]
    has_system = any(re.fullmatch(r"LTM\d+_\d+|LTV\d+|[AD]TV\d+|[AD]TM\d+_\d+", key) for key in header)
    if has_system:
        header[f"LTV{number}"] = pick.place(_number(header, f"LTV{number}"))
    if has_system and pick.step != 1:
        for key in matrix_keys or [f"LTM{number}_{number}"]:
            header[key] = _number(header, key, 1.0) / pick.step


def _cut_sections(part: fits.Header, header: fits.Header, picks: Sequence[Pick]) -> list[str]:
    """Set the sections of CCDs.

    Return those outside the part.
    """
    moved = sections.move_sections(header, picks)
    for key, text in moved.items():
        if text is not None:
            part[key] = text
    return [key for key, text in moved.items() if text is None]


def _number(header: fits.Header, key: str, default: float = 0.0) -> float:
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadImage(f"{key} is no number in its header")
    return value
