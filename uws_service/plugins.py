"""Parts that register by a Python entry point: kinds of site, faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

from uws_service.domain.errors import ConfigurationError

PACKAGE_HINT = "; if it comes with a package, install that where the service is installed"
"""Ends messages about names that an entry point could bring."""


class Named(Protocol):
    """A part with a name."""

    @property
    def name(self) -> str:
        """Return its name in settings and descriptors."""


T = TypeVar("T", bound=Named)


def load_plugins(group: str, built_in: Iterable[T], base: type[T]) -> dict[str, T]:
    """Return built-in and installed parts by name.

    Parameters
    ----------
    group
        The entry points' group, such as ``uws_service.sites``.
    built_in
        The parts that ship with the service.
    base
        The class that each part is an instance of.

    Raises
    ------
    ConfigurationError
        An entry point can't be loaded, is something else, or has a name that is in use.
    """
    parts = {part.name: part for part in built_in}
    for point in sorted(entry_points(group=group)):
        part = _load(point, base)
        if part.name in parts:
            raise ConfigurationError(f"{_origin(point)}: there is a {base.__name__} {part.name!r} already.")
        parts[part.name] = part
    return parts


def load_functions(group: str) -> dict[str, Callable[..., Any]]:
    """Return the functions that installed packages register for a group, by where each comes from.

    Raises
    ------
    ConfigurationError
        An entry point can't be loaded, or can't be called.
    """
    functions = {}
    for point in sorted(entry_points(group=group)):
        function = _import(point)
        if not callable(function):
            raise ConfigurationError(f"{_origin(point)}: must be a function, is {_described(function)}.")
        functions[_origin(point)] = function
    return functions


def _import(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # whatever a foreign module does when it is imported
        raise ConfigurationError(f"{_origin(point)}: {type(error).__name__}: {error}") from error


def _load(point: EntryPoint, base: type[T]) -> T:
    part = _import(point)
    if not isinstance(part, base):
        raise ConfigurationError(f"{_origin(point)}: must be a {base.__name__}, is {_described(part)}.")
    return part


def _described(part: Any) -> str:
    return f"the class {part.__name__}" if isinstance(part, type) else f"a {type(part).__name__}"


def _origin(point: EntryPoint) -> str:
    distribution = f" of {point.dist.name}" if point.dist is not None else ""
    return f"entry point {point.group}: {point.name}{distribution}"
