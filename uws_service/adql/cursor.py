"""A cursor over the tokens of a query.

It looks at the next one, takes it, or says what was expected instead.
"""

from __future__ import annotations

from uws_service.adql.errors import Fault, nearest
from uws_service.adql.names import RESERVED
from uws_service.adql.syntax import Name
from uws_service.adql.tokens import Kind, Token, tokenize

MAX_DEPTH = 60  # brackets and subqueries within each other

# Words of other SQL dialects, with what to write in ADQL instead.
_OTHER_DIALECTS = {
    "LIMIT": "Write TOP n after SELECT.",
    "CASE": "ADQL has no CASE; COALESCE replaces NULL.",
    "RLIKE": "Use LIKE or ILIKE.",
    "REGEXP": "Use LIKE or ILIKE.",
    "SIMILAR": "Use LIKE or ILIKE.",
    "GLOB": "Use LIKE with % and _.",
    "NULLS": "NULL sorts as the greatest value.",
    "ESCAPE": "LIKE has no ESCAPE in ADQL.",
    "OVER": "ADQL has no window functions.",
    "INTO": "A query can't write.",
    "TABLESAMPLE": "Use RAND().",
    "FETCH": "Write TOP n after SELECT.",
    "RECURSIVE": "WITH can't be recursive in ADQL.",
    "LATERAL": "A subquery in FROM can't use its neighbours.",
    "%": "Use MOD(x, y).",
}


# Words of the structure: they are misplaced rather than meant as names.
_STRUCTURE = frozenset(
    """
    SELECT FROM WHERE AND OR NOT ON USING JOIN AS BY ASC DESC UNION EXCEPT INTERSECT HAVING TOP DISTINCT IN LIKE DELETE
    INSERT UPDATE DROP CREATE
    """.split()
)


class Cursor:
    """A place in a query, with the grammar's small steps."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokenize(text)
        self._index = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        """Return the next token."""
        return self._tokens[self._index]

    def at_end(self) -> bool:
        """Return whether nothing follows."""
        return self.token.kind is Kind.END

    def ahead(self, steps: int) -> Token:
        """Return the token that many steps further, or the end."""
        return self._tokens[min(self._index + steps, len(self._tokens) - 1)]

    def take(self) -> Token:
        """Return the next token and go past it."""
        token = self.token
        if token.kind is not Kind.END:
            self._index += 1
        return token

    def accept(self, *words: str) -> bool:
        """Go past these words if all of them follow."""
        if all(self.ahead(number).upper == word for number, word in enumerate(words)):
            self._index += len(words)
            return True
        return False

    def accept_by(self, word: str) -> bool:
        """Go past ``word BY``.

        The word alone is a fault.
        """
        if not self.accept(word):
            return False
        self.expect("BY", f" after {word}")
        return True

    def expect(self, word: str, context: str = "") -> Token:
        """Go past a word that must follow."""
        if self.token.upper != word:
            raise self.unexpected(f"'{word}'{context}")
        return self.take()

    def unexpected(self, expected: str) -> Fault:
        """Return the fault of an unexpected token."""
        token = self.token
        word = token.upper
        previous = self._tokens[self._index - 1].upper if self._index else ""
        hint = _OTHER_DIALECTS.get(word, "") or _OTHER_DIALECTS.get(previous, "")
        if not hint and token.kind is Kind.WORD and word not in RESERVED and expected.startswith("'"):
            hint = nearest(word, [expected.strip("'").split("'")[0]])
        return Fault(f"expected {expected}, found {token}", token.at, hint)

    def name(self, description: str) -> Name:
        """Read an identifier that is no reserved word."""
        token = self.token
        if token.kind is Kind.DELIMITED:
            self.take()
            return Name(token.text, True, token.at)
        if token.kind is not Kind.WORD:
            raise self.unexpected(description)
        if token.upper in RESERVED:
            hint = _OTHER_DIALECTS.get(token.upper, "")
            if not hint and token.upper not in _STRUCTURE:
                hint = f'As a name it must be in double quotes: "{token.text}".'
            raise Fault(f"expected {description}, found the reserved word '{token.text}'", token.at, hint)
        self.take()
        return Name(token.text, False, token.at)

    def names(self, description: str, max_parts: int) -> tuple[Name, ...]:
        """Read identifiers with dots between them."""
        parts = [self.name(description)]
        while self.token.upper == "." and self.ahead(1).upper != "*":
            if len(parts) == max_parts:
                raise Fault(f"{description} has at most {max_parts} parts", self.token.at)
            self.take()
            parts.append(self.name(description))
        return tuple(parts)

    def whole_number(self, keyword: str) -> int:
        """Read a number of digits only."""
        token = self.token
        if token.kind is not Kind.NUMBER or not token.text.isdigit() or len(token.text) > 18:
            raise self.unexpected(f"a whole number without sign after {keyword}")
        self.take()
        return int(token.text)

    def starts_alias(self) -> bool:
        """Return whether the next token may be an alias."""
        token = self.token
        return token.kind is Kind.DELIMITED or (token.kind is Kind.WORD and token.upper not in RESERVED)

    def alias(self, description: str) -> Name | None:
        """Read ``[AS] name``."""
        if self.accept("AS"):
            return self.name(f"a name for {description}")
        if self.starts_alias() and self.token.upper not in _OTHER_DIALECTS:
            return self.name(f"a name for {description}")
        return None

    def enter(self) -> None:
        """Enter a bracket; refuse to nest too deeply."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Fault("too many brackets within each other", self.token.at, f"At most {MAX_DEPTH} are read.")

    def check_count(self, count: int, limit: int, description: str, at: int) -> None:
        """Refuse a chain that makes too deep a tree."""
        if count > limit:
            raise Fault(f"there are more than {limit} {description}", at)

    def leave(self) -> None:
        """Leave a bracket."""
        self._depth -= 1
