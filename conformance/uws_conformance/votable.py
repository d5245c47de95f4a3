"""VOTables as far as the checks read them.

Query status, columns, and rows where they are text.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from uws_conformance import documents
from uws_conformance.outcomes import Broken, Skipped, expect


@dataclass(frozen=True)
class Votable:
    """A table of results.

    ``before`` and ``after`` are the INFOs on either side of the TABLE: name, value and text.
    """

    version: str
    before: tuple[tuple[str, str, str], ...]
    after: tuple[tuple[str, str, str], ...]
    fields: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...] | None
    prefixed: bool

    @property
    def states(self) -> list[str]:
        """Return the values of QUERY_STATUS in order."""
        return [value for name, value, _ in self.before + self.after if name == "QUERY_STATUS"]

    @property
    def message(self) -> str:
        """Return the text of the first QUERY_STATUS."""
        return next((text for name, _, text in self.before + self.after if name == "QUERY_STATUS"), "")

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return the rows, or skip if they are binary."""
        if self.cells is None:
            raise Skipped("the rows are binary; this check reads TABLEDATA")
        return self.cells


def local(node: etree._Element) -> str:
    """Return the name of an element without namespace."""
    return str(node.tag).rpartition("}")[2]


def read(body: bytes, subject: str) -> Votable:
    """Read the resource of type "results"."""
    root = documents.parse(body, subject)
    expect(local(root) == "VOTABLE", f"the root of {subject} is {root.tag}, not VOTABLE")
    results = [element for element in root.iterchildren("{*}RESOURCE") if element.get("type") == "results"]
    if len(results) != 1:
        raise Broken(f"{subject} has {len(results)} RESOURCE elements of type results, not one")
    before: list[tuple[str, str, str]] = []
    after: list[tuple[str, str, str]] = []
    fields: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] | None = ()
    side = before
    for node in results[0].iterchildren("{*}INFO", "{*}TABLE"):
        if local(node) == "INFO":
            side.append((node.get("name") or "", node.get("value") or "", (node.text or "").strip()))
        else:
            side = after
            fields = tuple(element.get("name") or "" for element in node.iterchildren("{*}FIELD"))
            cells = rows(node)
    return Votable(root.get("version") or "", tuple(before), tuple(after), fields, cells, root.prefix is not None)


def rows(table: etree._Element) -> tuple[tuple[str, ...], ...] | None:
    """Return the cells of TABLEDATA.

    None stands for binary data.
    """
    data = table.find("{*}DATA")
    if data is None:
        return ()
    table_data = data.find("{*}TABLEDATA")
    if table_data is None:
        return None
    return tuple(
        tuple((cell.text or "").strip() for cell in row.iterfind("{*}TD")) for row in table_data.iterfind("{*}TR")
    )
