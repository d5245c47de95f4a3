"""The making of mutants.

Each is the reference server with one deliberate fault, in its answers or in its methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from faces import Soda, Tap
from reference import Reference
from reference_documents import Answer, Request

LIST, JOB = r"/async", r"/async/\w{32}"
Rewrite = Callable[[Request, Answer], Answer]


@dataclass(frozen=True)
class Mutant:
    """A deliberate fault."""

    name: str
    rewrite: Rewrite | None = None
    methods: dict[str, Callable[..., Any]] = field(default_factory=dict)
    face: str = "uws"


MUTANTS: list[Mutant] = []


FACES: dict[str, type[Reference]] = {"uws": Reference, "tap": Tap, "soda": Soda}


def build(mutant: Mutant | None, face: str = "uws") -> Reference:
    """Build the server with the fault, or the correct one."""
    if mutant is None:
        return FACES[face]()
    reference: Reference = type("Mutated", (FACES[mutant.face],), dict(mutant.methods))()
    reference.rewrite = mutant.rewrite
    return reference


def on(name: str, method: str, path: str, change: Callable[[Answer], Answer], body: str = "", query: str = "") -> None:
    """Add a fault in the answers to some requests.

    Method and path match, the answer contains ``body``, and the query matches ``query``.
    """

    def rewrite(request: Request, answer: Answer) -> Answer:
        query_string = "&".join(f"{key}={value}" for key, value in request.query)
        matches = re.fullmatch(method, request.method) and re.fullmatch(path, request.path.rstrip("/") or "/")
        return change(answer) if matches and body in answer.body and re.search(query, query_string) else answer

    MUTANTS.append(Mutant(name, rewrite))


def when(name: str, test: Callable[[Request, Answer], bool], change: Callable[[Answer], Answer]) -> None:
    """Add a fault in the answers that pass a test."""
    MUTANTS.append(Mutant(name, lambda request, answer: change(answer) if test(request, answer) else answer))


def override(name: str, **methods: Callable[..., Any]) -> None:
    """Add a fault in some methods."""
    MUTANTS.append(Mutant(name, None, methods))


def with_status(code: int) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, status=code)


def with_type(media_type: str) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, type=media_type)


def with_substitution(pattern: str, by: str) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, body=re.sub(pattern, by, answer.body))


def with_header(name: str, value: str) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, headers={**answer.headers, name: value})


def with_body(body: str) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, body=body)


def has_form_field(field_name: str, value: str = "") -> Callable[[Request, Answer], bool]:
    """Return a test for requests with a form field."""
    return lambda request, _answer: any(
        key == field_name and (not value or field_value == value) for key, field_value in request.form
    )
