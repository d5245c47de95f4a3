"""Text to the tokens of ADQL 2.1, with sqlglot's tokenizer cut down to them."""

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

LONGEST_QUERY = 200_000  # characters

# ADQL 2.1 §2.1.2, both lists.
RESERVED = frozenset(
    """
    ABS ACOS AREA ASIN ATAN ATAN2 BIGINT BOX CAST CEILING CENTROID CHAR CIRCLE COALESCE CONTAINS COORD1 COORD2 COORDSYS
    COS COT DEGREES DISTANCE DOUBLE EXP FLOOR INTEGER INTERSECTS IN_UNIT LOG LOG10 MOD NULL PI POINT POLYGON POWER
    PRECISION RADIANS REAL REGION RAND ROUND SIN SMALLINT SQRT TIMESTAMP TOP TAN TRUNCATE VARCHAR OFFSET
    ABSOLUTE ACTION ADD ALL ALLOCATE ALTER AND ANY ARE AS ASC ASSERTION AT AUTHORIZATION AVG BEGIN BETWEEN BIT
    BIT_LENGTH BOTH BY CASCADE CASCADED CASE CATALOG CHARACTER CHAR_LENGTH CHARACTER_LENGTH CHECK CLOSE COLLATE
    COLLATION COLUMN COMMIT CONNECT CONNECTION CONSTRAINT CONSTRAINTS CONTINUE CONVERT CORRESPONDING COUNT CREATE CROSS
    CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATE DAY DEALLOCATE DECIMAL DECLARE DEFAULT
    DEFERRABLE DEFERRED DELETE DESC DESCRIBE DESCRIPTOR DIAGNOSTICS DISCONNECT DISTINCT DOMAIN DROP ELSE END ESCAPE
    EXCEPT EXCEPTION EXEC EXECUTE EXISTS EXTERNAL EXTRACT FALSE FETCH FIRST FLOAT FOR FOREIGN FOUND FROM FULL GET GLOBAL
    GO GOTO GRANT GROUP HAVING HOUR IDENTITY ILIKE IMMEDIATE IN INDICATOR INITIALLY INNER INPUT INSENSITIVE INSERT INT
    INTERSECT INTERVAL INTO IS ISOLATION JOIN KEY LANGUAGE LAST LEADING LEFT LEVEL LIKE LOCAL LOWER MATCH MAX MIN MINUTE
    MODULE MONTH NAMES NATIONAL NATURAL NCHAR NEXT NO NOT NULLIF NUMERIC OCTET_LENGTH OF ON ONLY OPEN OPTION OR ORDER
    OUTER OUTPUT OVERLAPS PAD PARTIAL POSITION PREPARE PRESERVE PRIMARY PRIOR PRIVILEGES PROCEDURE PUBLIC READ
    REFERENCES RELATIVE RESTRICT REVOKE RIGHT ROLLBACK ROWS SCHEMA SCROLL SECOND SECTION SELECT SESSION SESSION_USER SET
    SIZE SOME SPACE SQL SQLCODE SQLERROR SQLSTATE SUBSTRING SUM SYSTEM_USER TABLE TEMPORARY THEN TIME TIMEZONE_HOUR
    TIMEZONE_MINUTE TO TRAILING TRANSACTION TRANSLATE TRANSLATION TRIM TRUE UNION UNIQUE UNKNOWN UPDATE UPPER USAGE USER
    USING VALUE VALUES VARYING VIEW WHEN WHENEVER WHERE WITH WORK WRITE YEAR ZONE
    """.split()
)

_REGULAR = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_BETWEEN = re.compile(r"(\s|--[^\n]*)*\Z")  # what may stand between two tokens
_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")


class Adql(Dialect):
    """The dialect as sqlglot sees it: only its tokens, since the grammar is stricter than any of sqlglot's."""

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
    """A token; ``text`` is without quotes, ``upper`` is empty unless it is a word or a mark."""

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
    """The tokens of a query with an END at the end; raises `Fault` for what ADQL has no token for."""
    if len(text) > LONGEST_QUERY:
        raise Fault(f"the query has {len(text)} characters", 0, f"At most {LONGEST_QUERY} are read.")
    if "\0" in text:
        raise Fault("the query has a NUL character", text.index("\0"))
    try:
        raw = Adql().tokenize(text)
    except TokenError as error:
        raise _unclosed(text) from error
    found: list[Token] = []
    for token in raw:
        at, end, word = token.start, token.end + 1, token.text
        _only_space(text, found[-1].end if found else 0, at)
        if token.token_type is TokenType.STRING:
            kind = Kind.STRING
        elif token.token_type is TokenType.IDENTIFIER:
            kind = Kind.DELIMITED
            if not word:
                raise Fault('"" names nothing', at)
        else:
            # Numbers are put together from the text, as ".5" and "5." come in two tokens.
            kind, word = _plain(text[at:end], at)
        if kind is Kind.NUMBER and found and found[-1].end == at and found[-1].kind is not Kind.MARK:
            raise Fault(f"'{found[-1].text}{word}' is neither a number nor a name", found[-1].at)
        found.append(Token(kind, word, at, end))
    _only_space(text, found[-1].end if found else 0, len(text))
    return [*_joined_numbers(found, text), Token(Kind.END, "", len(text), len(text))]


def _only_space(text: str, begin: int, end: int) -> None:
    """sqlglot takes templates' comments for space; ADQL has only ``--``."""
    if not _BETWEEN.match(text[begin:end]):
        raise Fault(f"'{text[begin:end].strip()[:20]}' has no meaning in ADQL", begin)


def _plain(word: str, at: int) -> tuple[Kind, str]:
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


def _joined_numbers(tokens: list[Token], text: str) -> list[Token]:
    """``.`` and a number that follows at once are a number, unless a name stands before (``t.5`` is an error)."""
    found: list[Token] = []
    for token in tokens:
        before = found[-1] if found else None
        if before is not None and before.end == token.at:
            if before.kind is Kind.NUMBER and (token.text == "." or token.kind is Kind.NUMBER):
                raise Fault(f"'{text[before.at : token.end]}' is not a number", before.at)
            if token.kind is Kind.NUMBER and before.text == "." and before.kind is Kind.MARK and "." not in token.text:
                found[-1] = Token(Kind.NUMBER, "." + token.text, before.at, token.end)
                continue
            if before.kind is Kind.NUMBER and token.kind is Kind.WORD:
                raise Fault(f"'{text[before.at : token.end]}' is neither a number nor a name", before.at)
        found.append(token)
    return found


def _unclosed(text: str) -> Fault:
    """Find the quote that is not closed, since the tokenizer does not say where it began."""
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
