"""Text to the tokens of ADQL 2.1.

sqlglot's tokenizer does it, cut down to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import TokenType
from sqlglot.tokens import Tokenizer as AnyTokenizer

from uws_service.adql.errors import Fault

MAX_QUERY_CHARACTERS = 200_000
MAX_TOKENS = 50_000
"""A list of 25,000 numbers has as many; they are read in well under a second."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*")
_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
_REGULAR = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_SPACE = re.compile(r"(\s|--[^\n]*)*\Z")  # what may stand between two tokens
_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")


class Adql(Dialect):
    """The dialect as sqlglot sees it: only its tokens.

    The grammar is stricter than any of sqlglot's.
    """

    class Tokenizer(AnyTokenizer):
        QUOTES: ClassVar = ["'"]
        IDENTIFIERS: ClassVar = ['"']
        STRING_ESCAPES: ClassVar = ["'"]
        IDENTIFIER_ESCAPES: ClassVar = ['"']
        COMMENTS: ClassVar = ["--"]
        # Words stay words; the parser knows which are reserved.
        KEYWORDS: ClassVar = {
            mark: kind for mark, kind in AnyTokenizer.KEYWORDS.items() if mark in ("<>", "!=", "<=", ">=", "||")
        }
        COMMANDS: ClassVar[set[TokenType]] = set()


class Kind(Enum):
    WORD = "word"
    DELIMITED = "delimited identifier"
    STRING = "string"
    NUMBER = "number"
    MARK = "mark"
    END = "end of the query"


@dataclass(frozen=True, slots=True)
class Token:
    """A token, its text without quotes.

    ``upper`` is empty unless it is a word or a mark.
    """

    kind: Kind
    text: str
    at: int
    end: int

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind in (Kind.WORD, Kind.MARK) else ""

    def __str__(self) -> str:
        return {Kind.STRING: f"the string '{self.text}'", Kind.END: "the end of the query"}.get(
            self.kind, f"'{self.text}'"
        )


_MARKS = {"(", ")", ",", ".", "+", "-", "*", "/", "=", "<", ">", "<>", "!=", "<=", ">=", "||", ";"}


def tokenize(text: str) -> list[Token]:
    """Split a query into tokens, the last an END.

    Raises `Fault` for what ADQL has no token for.
    """
    if len(text) > MAX_QUERY_CHARACTERS:
        raise Fault(f"the query has {len(text)} characters", 0, f"At most {MAX_QUERY_CHARACTERS} are read.")
    if "\0" in text:
        raise Fault("the query has a NUL character", text.index("\0"))
    count = sum(1 for _ in _WORD_OR_MARK.finditer(_QUOTED.sub(" x ", text)))  # far quicker than tokens
    if count > MAX_TOKENS:
        raise Fault(f"the query has {count} words and marks", 0, f"At most {MAX_TOKENS} are read.")
    try:
        raw_tokens = Adql().tokenize(text)
    except TokenError as error:
        raise _unclosed_quote(text) from error
    tokens: list[Token] = []
    for token in raw_tokens:
        at, end, word = token.start, token.end + 1, token.text
        _check_space(text, tokens[-1].end if tokens else 0, at)
        if token.token_type is TokenType.STRING:
            kind = Kind.STRING
        elif token.token_type is TokenType.IDENTIFIER:
            kind = Kind.DELIMITED
            if not word:
                raise Fault('"" names nothing', at)
        else:
            # Numbers are put together from the text, as ".5" and "5." come in two tokens.
            kind, word = _classify(text[at:end], at)
        if kind is Kind.NUMBER and tokens and tokens[-1].end == at and tokens[-1].kind is not Kind.MARK:
            raise Fault(f"'{tokens[-1].text}{word}' is neither a number nor a name", tokens[-1].at)
        tokens.append(Token(kind, word, at, end))
    _check_space(text, tokens[-1].end if tokens else 0, len(text))
    return [*_join_numbers(tokens, text), Token(Kind.END, "", len(text), len(text))]


def _check_space(text: str, begin: int, end: int) -> None:
    """Refuse anything but space and comments between tokens.

    sqlglot takes templates' comments for space; ADQL has only ``--``.
    """
    if begin != end and not _SPACE.match(text[begin:end]):
        raise Fault(f"'{text[begin:end].strip()[:20]}' has no meaning in ADQL", begin)


def _classify(word: str, at: int) -> tuple[Kind, str]:
    if word in _MARKS:
        return Kind.MARK, word
    if _NUMBER.match(word):
        return Kind.NUMBER, word
    if _REGULAR.match(word):
        return Kind.WORD, word
    raise Fault(
        f"'{word}' has no meaning in ADQL",
        at,
        "Names are letters, digits and _, beginning with a letter; put any other name in double quotes."
        if len(word) > 1 or word == "_" or word.isalpha()
        else "",
    )


def _join_numbers(raw_tokens: list[Token], text: str) -> list[Token]:
    """Join ``.`` with a number right after it.

    After a name it is an error (``t.5``).
    """
    tokens: list[Token] = []
    for token in raw_tokens:
        previous = tokens[-1] if tokens else None
        if previous is not None and previous.end == token.at:
            if previous.kind is Kind.NUMBER and (token.text == "." or token.kind is Kind.NUMBER):
                raise Fault(f"'{text[previous.at : token.end]}' is not a number", previous.at)
            if (
                token.kind is Kind.NUMBER
                and previous.text == "."
                and previous.kind is Kind.MARK
                and "." not in token.text
            ):
                tokens[-1] = Token(Kind.NUMBER, "." + token.text, previous.at, token.end)
                continue
            if previous.kind is Kind.NUMBER and token.kind is Kind.WORD:
                raise Fault(f"'{text[previous.at : token.end]}' is neither a number nor a name", previous.at)
        tokens.append(token)
    return tokens


def _unclosed_quote(text: str) -> Fault:
    """Find the quote that is not closed.

    The tokenizer does not say where it began.
    """
    place, length = 0, len(text)
    while place < length:
        if text.startswith("--", place):
            end = text.find("\n", place)
            place = length if end < 0 else end
        elif text[place] in "'\"":
            quote, begin = text[place], place
            place += 1
            while place < length and text[place] != quote:
                place += 1
            if place >= length:
                return Fault(f"the quote {quote} is not closed", begin)
        place += 1
    return Fault("the query can't be read", 0)
