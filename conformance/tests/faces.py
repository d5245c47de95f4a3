"""The reference server as small TAP and SODA services.

Queries are those that the checks send, read by regular expressions; a table has columns and rows of text.
"""

from __future__ import annotations

import csv
import io
import re
from xml.sax.saxutils import escape

from lxml import etree
from reference import Reference
from reference_documents import Answer, Job, Pairs, Request

COLUMNS = [
    {"table_name": f"TAP_SCHEMA.{table}", "column_name": column, "datatype": "char", "schema_name": "TAP_SCHEMA"}
    for table, columns in {
        "tables": ("table_name", "schema_name"),
        "columns": ("column_name", "datatype", "unit"),
    }.items()
    for column in columns
]


class Refused(Exception):
    """A wrong request; the text says why."""


def single_value(form: Pairs, name: str) -> str:
    """Return the value of a parameter given at most once."""
    values = [value for key, value in form if key.upper() == name]
    if len(values) > 1:
        raise Refused(f"{name} is given {len(values)} times")
    return values[0] if values else ""


class Tap(Reference):
    """A TAP service."""

    cap = 1000

    # Queries

    def limit(self, form: Pairs) -> int:
        """Return the maximum number of rows."""
        maxrec = single_value(form, "MAXREC")
        if maxrec and not maxrec.isdigit():
            raise Refused(f"MAXREC is {maxrec!r}")
        return min(int(maxrec), self.cap) if maxrec else self.cap

    def language(self, form: Pairs) -> None:
        """Refuse languages other than ADQL."""
        if single_value(form, "LANG") != "ADQL":
            raise Refused("unknown query language")

    def rows(self, form: Pairs, files: dict[str, bytes]) -> tuple[list[str], list[list[str]]]:
        """Return columns and rows before the limit."""
        query = single_value(form, "QUERY")
        if common := re.fullmatch(r"WITH (\w+) AS \((.*)\) SELECT TOP 1 \w+ FROM \1", query):
            query = common.group(2)
        match = re.fullmatch(r"SELECT (?:TOP (\d+) )?(.+?) FROM (\S+)( .*)?", query)
        if not match:
            raise Refused(f"no query: {query!r}")
        top, columns, source, condition = match.groups()
        if source.upper().startswith("TAP_UPLOAD."):
            return self.uploaded(form, files, source.partition(".")[2], columns)
        if source.upper() not in ("TAP_SCHEMA.COLUMNS", "TAP_SCHEMA.SCHEMAS", "TAP_SCHEMA.TABLES"):
            raise Refused(f"no table {source}")
        source_rows = [] if "no such column" in (condition or "") else COLUMNS
        names, cells = [], []
        for number, item in enumerate(re.split(r",\s*(?![^()]*\))", columns)):
            column, _, alias = item.partition(" AS ")
            call = "(" in column
            if not call and column not in COLUMNS[0]:
                raise Refused(f"no column {column}")
            names.append(alias or (self.generated(number) if call else column))
            cells.append(["7"] if call else [row[column] for row in source_rows])
        rows = [list(row) for row in zip(*cells, strict=True)]
        return names, rows[: int(top)] if top else rows

    def generated(self, number: int) -> str:
        """Return the name of a computed column."""
        return f"col_{number}"

    def upload_list(self, form: Pairs) -> list[str]:
        """Return the entries of all UPLOAD parameters."""
        return [part for key, value in form if key.upper() == "UPLOAD" for part in value.split(";") if part]

    def uploaded(
        self, form: Pairs, files: dict[str, bytes], table: str, selection: str
    ) -> tuple[list[str], list[list[str]]]:
        """Return columns and rows of an uploaded table."""
        tables = dict(entry.split(",", 1) for entry in self.upload_list(form))
        part = tables.get(table, "").removeprefix("param:")
        if part not in files or ("o.ra" in selection and len(tables) < 2):
            raise Refused(f"no upload {table}")
        root = etree.fromstring(files[part])
        names = [field.get("name") or "" for field in root.iter("{*}FIELD")]
        rows = [[cell.text or "" for cell in row] for row in root.iter("{*}TR")]
        columns = [item.strip().rpartition(".")[2] for item in selection.split(",")]
        return columns, [[row[names.index(column)] for column in columns] for row in rows]

    def names_of_uploads(self, form: Pairs, files: dict[str, bytes]) -> None:
        """Refuse malformed entries of UPLOAD."""
        for entry in self.upload_list(form):
            name, _, uri = entry.partition(",")
            if not re.fullmatch(r"[A-Za-z]\w*", name) or uri.removeprefix("param:") not in files:
                raise Refused(f"bad upload {entry!r}")

    def query(self, form: Pairs, files: dict[str, bytes]) -> Answer:
        """Answer a query in the requested format."""
        self.language(form)
        limit = self.limit(form)
        self.names_of_uploads(form, files)
        format = self.format(form)
        names, rows = self.rows(form, files)
        return self.write(format, names, rows[:limit], len(rows) > limit or limit == 0)

    def format(self, form: Pairs) -> str:
        """Return the requested format."""
        format = single_value(form, "RESPONSEFORMAT") or single_value(form, "FORMAT") or "votable"
        supported = ("votable", "csv", "tsv", "text/xml", "application/x-votable+xml")
        if format.partition(";")[0] not in supported:
            raise Refused(f"no format {format!r}")
        return format

    def write(self, format: str, names: list[str], rows: list[list[str]], cut: bool) -> Answer:
        """Write a table in a format."""
        if format in ("csv", "tsv"):
            out = io.StringIO()
            csv.writer(out, delimiter="," if format == "csv" else "\t").writerows([names, *rows])
            return Answer(200, out.getvalue(), "text/csv" if format == "csv" else "text/tab-separated-values")
        fields = "".join(f'<FIELD name="{name}" datatype="char" arraysize="*"/>' for name in names)
        cells = "".join(f"<TR>{''.join(f'<TD>{escape(cell)}</TD>' for cell in row)}</TR>" for row in rows)
        mark = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>' if cut else ""
        body = (
            '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
            '<INFO name="QUERY_STATUS" value="OK"/><INFO name="standardID" value="ivo://ivoa.net/std/TAP"/>'
            f"<TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>{mark}</RESOURCE></VOTABLE>"
        )
        return Answer(200, body, "text/xml" if format == "text/xml" else "application/x-votable+xml")

    def failure(self, message: str, status: int = 400) -> Answer:
        """Return an error document."""
        body = (
            '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
            f'<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO></RESOURCE></VOTABLE>'
        )
        return Answer(status, body, "application/x-votable+xml")

    # Resources

    def sync(self, request: Request) -> Answer:
        try:
            return self.query([*request.query, *request.form], request.files)
        except Refused as error:
            return self.failure(str(error))

    def table_document(self, table: str) -> str:
        columns = "".join(
            f"<column><name>{row['column_name']}</name></column>" for row in COLUMNS if row["table_name"] == table
        )
        return f"<name>{table}</name>{columns}"

    def tables(self, parts: list[str]) -> Answer:
        names = sorted({row["table_name"] for row in COLUMNS})
        root = 'xmlns:v="http://www.ivoa.net/xml/VOSITables/v1.0"'
        if len(parts) == 1:
            table_elements = "".join(f"<table>{self.table_document(name)}</table>" for name in names)
            schema = f"<schema><name>TAP_SCHEMA</name>{table_elements}</schema>"
            return Answer(200, f"<v:tableset {root}>{schema}</v:tableset>", "text/xml")
        if parts[1] in names:
            return Answer(200, f"<v:table {root}>{self.table_document(parts[1])}</v:table>", "text/xml")
        return Answer(404, "no such table")

    def examples(self) -> Answer:
        body = (
            '<html><body vocab="http://www.ivoa.net/rdf/examples#"><div typeof="example" id="a" resource="#a">'
            '<b property="name">A</b><pre property="query">SELECT 1</pre></div></body></html>'
        )
        return Answer(200, body, "application/xhtml+xml")

    def features(self, regext: str) -> str:
        """Return one announced feature of each kind."""
        forms = {
            "adqlgeo": "REGION",
            "adql-string": "ILIKE",
            "adql-sets": "INTERSECT",
            "adql-common-table": "WITH",
            "adql-type": "CAST",
            "adql-conditional": "COALESCE",
            "adql-offset": "OFFSET",
            "udf": "ivo_healpix_index(hpxOrder INTEGER, long REAL, lat REAL) -&gt; BIGINT",
        }
        return "".join(
            f'<languageFeatures type="{regext}features-{kind}"><feature><form>{form}</form></feature>'
            "</languageFeatures>"
            for kind, form in forms.items()
        )

    def capabilities(self) -> str:
        regext = "ivo://ivoa.net/std/TAPRegExt#"
        tap = (
            '<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess" '
            'xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0"><interface xsi:type="vs:ParamHTTP" role="std" '
            f'version="1.1"><accessURL use="base">{self.url}</accessURL></interface><language><name>ADQL</name>'
            '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version>'
            f"{self.features(regext)}</language>"
            "<outputFormat><mime>application/x-votable+xml</mime></outputFormat>"
            f'<uploadMethod ivo-id="{regext}upload-inline"/><uploadMethod ivo-id="{regext}upload-http"/></capability>'
        )
        tables = (
            '<capability standardID="ivo://ivoa.net/std/VOSI#tables"><interface xsi:type="vs:ParamHTTP" role="std">'
            f'<accessURL use="full">{self.url}/tables</accessURL></interface></capability>'
        )
        return super().capabilities().replace("</v:capabilities>", f"{tap}{tables}</v:capabilities>")

    def route(self, request: Request, parts: list[str]) -> Answer:
        if parts == ["sync"]:
            return self.sync(request)
        if parts[0] == "tables":
            return self.tables(parts)
        if parts == ["examples"]:
            return self.examples()
        return super().route(request, parts)

    # Jobs

    def advance(self, job: Job) -> None:
        if job.phase == "QUEUED":
            job.phase = "EXECUTING"
            job.started = job.created
            try:
                job.answer = self.query(job.parameters, job.files)  # type: ignore[attr-defined]
                self.finish(job, "COMPLETED")
            except Refused as error:
                job.answer = self.failure(str(error), 200)  # type: ignore[attr-defined]
                self.finish(job, "ERROR")
        super().advance(job)

    def answer_child(self, request: Request, job: Job, child: str, path: list[str]) -> Answer:
        answer: Answer | None = getattr(job, "answer", None)
        if answer and (child, path, job.phase) in (("results", ["result"], "COMPLETED"), ("error", [], "ERROR")):
            return answer
        return super().answer_child(request, job, child, path)


class Soda(Reference):
    """A SODA service with one data set."""

    several = True

    def cutout(self, circle: str) -> Answer:
        """Cut out a circle."""
        try:
            lon, lat, _radius = (float(word) for word in circle.split())
        except ValueError as error:
            raise Refused(f"UsageError: {circle!r} is no circle") from error
        if abs(lon - 10) > 1 or abs(lat - 10) > 1:
            return Answer(200, "Error: no pixels there")
        return Answer(200, f"pixels of {circle}", "application/fits")

    def answers(self, form: Pairs) -> list[Answer]:
        """Return an answer for each region."""
        if single_value(form, "ID") != "ivo://example/data":
            raise Refused("UsageError: no such data set")
        circles = [value for key, value in form if key.upper() == "CIRCLE"]
        if len(circles) > 1 and not self.several:
            raise Refused("MultiValuedParamNotSupported: one circle, please")
        return [self.cutout(circle) for circle in circles] or [Answer(200, "everything", "application/fits")]

    def sync(self, request: Request) -> Answer:
        try:
            answers = self.answers([*request.query, *request.form])
        except Refused as error:
            return Answer(400, str(error))
        return Answer(204) if answers[0].body.startswith("Error") else answers[0]

    def capabilities(self) -> str:
        soda = (
            '<capability standardID="ivo://ivoa.net/std/SODA#async-1.0"><interface xsi:type="vs:ParamHTTP" role="std" '
            f'version="1.0"><accessURL use="full">{self.url}/async</accessURL></interface></capability>'
        )
        return super().capabilities().replace("</v:capabilities>", f"{soda}</v:capabilities>")

    def route(self, request: Request, parts: list[str]) -> Answer:
        return self.sync(request) if parts == ["sync"] else super().route(request, parts)

    def advance(self, job: Job) -> None:
        if job.phase == "QUEUED":
            job.phase, job.started = "EXECUTING", job.created
            try:
                job.answers = self.answers(job.parameters)  # type: ignore[attr-defined]
                self.finish(job, "COMPLETED")
            except Refused as error:
                job.message = str(error)  # type: ignore[attr-defined]
                self.finish(job, "ERROR")
        super().advance(job)

    def results(self, job: Job, root: str = "") -> str:
        elements = "".join(
            f'<uws:result id="result{number}" xlink:href="{self.url}/async/{job.id}/results/result{number}"/>'
            for number, _ in enumerate(getattr(job, "answers", []))
        )
        return f"<uws:results{root}>{elements}</uws:results>"

    def answer_child(self, request: Request, job: Job, child: str, path: list[str]) -> Answer:
        answers: list[Answer] = getattr(job, "answers", [])
        if child == "results" and path:
            number = path[0].removeprefix("result")
            return answers[int(number)] if number.isdigit() and int(number) < len(answers) else Answer(404)
        if child == "error" and job.phase == "ERROR":
            return Answer(200, getattr(job, "message", ""))
        return super().answer_child(request, job, child, path)
