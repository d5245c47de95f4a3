"""Optional features of the language, as a service announces them.

Their kinds are those of TAPRegExt 1.0 §2.3.

The functions announce themselves in `functions.FUNCTIONS`, which is what the parser knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from uws_service.adql.functions import FUNCTIONS, GEOMETRY, STRING, UNIT, USER_DEFINED


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature: its form in TAPRegExt, and what it does."""

    form: str
    description: str = ""


_GRAMMAR = {
    STRING: ("ILIKE",),
    "features-adql-sets": ("UNION", "EXCEPT", "INTERSECT"),
    "features-adql-common-table": ("WITH",),
    "features-adql-type": ("CAST",),
    "features-adql-offset": ("OFFSET",),
}
"""Features that are words of the grammar and no functions."""


def announced_features() -> dict[str, tuple[Feature, ...]]:
    """Return the features by kind, under registered names."""
    features: dict[str, list[Feature]] = {kind: [] for kind in (GEOMETRY, STRING, *_GRAMMAR, UNIT, USER_DEFINED)}
    for name, signature in FUNCTIONS.items():
        if signature.feature is not None:
            forms = signature.announced or (name,)
            features[signature.feature] += [Feature(form, signature.description) for form in forms]
    for kind, words in _GRAMMAR.items():
        features[kind] += [Feature(word) for word in words]
    return {kind: tuple(entries) for kind, entries in features.items()}
