"""Walking along tokens: what is next, take it, or say what was expected instead."""

from __future__ import annotations

from uws_service.adql.errors import Fault, nearest
from uws_service.adql.syntax import Name
from uws_service.adql.tokens import RESERVED, Kind, Token, tokenize

DEEPEST = 60  # brackets and subqueries within each other

# What others know and ADQL does not, with what to write instead.
_FOREIGN = {
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


# These are rather in the wrong place than meant as names.
_STRUCTURE = frozenset(
    """
    SELECT FROM WHERE AND OR NOT ON USING JOIN AS BY ASC DESC UNION EXCEPT INTERSECT HAVING TOP DISTINCT IN LIKE DELETE
    INSERT UPDATE DROP CREATE
    """.split()
)


class Reader:
    """The place in a query, with the small steps that the grammar is made of."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokenize(text)
        self._place = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self._tokens[self._place]

    def at_end(self) -> bool:
        """Whether nothing follows."""
        return self.token.kind is Kind.END

    def ahead(self, steps: int) -> Token:
        """The token that many steps further; the end of the query when it is beyond."""
        return self._tokens[min(self._place + steps, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The next token, and go on."""
        token = self.token
        if token.kind is not Kind.END:
            self._place += 1
        return token

    def accept(self, *words: str) -> bool:
        """Go past these words or marks if all of them follow."""
        if all(self.ahead(number).upper == word for number, word in enumerate(words)):
            self._place += len(words)
            return True
        return False

    def accept_by(self, word: str) -> bool:
        """Go past ``word BY``; the word alone is a fault."""
        if not self.accept(word):
            return False
        self.expect("BY", f" after {word}")
        return True

    def expect(self, word: str, context: str = "") -> Token:
        """Go past one word or mark that must follow."""
        if self.token.upper != word:
            raise self.unexpected(f"'{word}'{context}")
        return self.take()

    def unexpected(self, expected: str) -> Fault:
        """The fault that something else was expected here."""
        token = self.token
        word = token.upper
        before = self._tokens[self._place - 1].upper if self._place else ""
        hint = _FOREIGN.get(word, "") or _FOREIGN.get(before, "")
        if not hint and token.kind is Kind.WORD and word not in RESERVED and expected.startswith("'"):
            hint = nearest(word, [expected.strip("'").split("'")[0]])
        return Fault(f"expected {expected}, found {token}", token.at, hint)

    def name(self, what: str) -> Name:
        """An identifier, which must not be a reserved word."""
        token = self.token
        if token.kind is Kind.DELIMITED:
            self.take()
            return Name(token.text, True, token.at)
        if token.kind is not Kind.WORD:
            raise self.unexpected(what)
        if token.upper in RESERVED:
            hint = _FOREIGN.get(token.upper, "")
            if not hint and token.upper not in _STRUCTURE:
                hint = f'As a name it must be in double quotes: "{token.text}".'
            raise Fault(f"expected {what}, found the reserved word '{token.text}'", token.at, hint)
        self.take()
        return Name(token.text, False, token.at)

    def names(self, what: str, most: int) -> tuple[Name, ...]:
        """Identifiers with dots between them."""
        found = [self.name(what)]
        while self.token.upper == "." and self.ahead(1).upper != "*":
            if len(found) == most:
                raise Fault(f"{what} has at most {most} parts", self.token.at)
            self.take()
            found.append(self.name(what))
        return tuple(found)

    def whole_number(self, what: str) -> int:
        """Digits only."""
        token = self.token
        if token.kind is not Kind.NUMBER or not token.text.isdigit() or len(token.text) > 18:
            raise self.unexpected(f"a whole number without sign after {what}")
        self.take()
        return int(token.text)

    def starts_alias(self) -> bool:
        """Whether the next token names what stands before it."""
        token = self.token
        return token.kind is Kind.DELIMITED or (token.kind is Kind.WORD and token.upper not in RESERVED)

    def alias(self, what: str) -> Name | None:
        """``[AS] name``."""
        if self.accept("AS"):
            return self.name(f"a name for {what}")
        if self.starts_alias() and self.token.upper not in _FOREIGN:
            return self.name(f"a name for {what}")
        return None

    def deeper(self) -> None:
        """Enter a bracket; too many within each other are refused."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise Fault("too many brackets within each other", self.token.at, f"At most {DEEPEST} are read.")

    def not_too_many(self, count: int, most: int, what: str, at: int) -> None:
        """Refuse what would make a tree too deep to be walked."""
        if count > most:
            raise Fault(f"there are more than {most} {what}", at)

    def back(self) -> None:
        """Leave it."""
        self._depth -= 1
