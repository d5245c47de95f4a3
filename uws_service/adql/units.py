"""Factors between units for IN_UNIT.

astropy reads VOUnits.
"""

from __future__ import annotations


class UnitFault(ValueError):
    """A unit that is unknown or does not fit.

    ``is_target`` tells which of the two it is.
    """

    def __init__(self, message: str, is_target: bool, hint: str = "") -> None:
        super().__init__(message)
        self.is_target = is_target
        self.hint = hint


def factor(source: str, target: str) -> float:
    """Return the factor between units, or raise `UnitFault`."""
    import warnings

    from astropy import units as u

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        units = []
        for text, is_target in ((source, False), (target, True)):
            try:
                units.append(u.Unit(text, format="vounit"))
            except (ValueError, TypeError):
                raise UnitFault(f"'{text}' is not a unit of VOUnits", is_target) from None
        try:
            return float(units[0].to(units[1]))
        except (u.UnitConversionError, u.UnitTypeError, TypeError, ValueError):
            hint = f"It must measure the same as {source}."
            raise UnitFault(f"'{source}' can't be converted to '{target}'", True, hint) from None
