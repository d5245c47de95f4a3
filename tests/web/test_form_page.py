"""The form of a new job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.protocol.samples import FULL
from tests.web.page_reader import APPLICATION, BASE, EVIL, buttons, parsed
from uws_service.applications import Application
from uws_service.applications.problems import Problem
from uws_service.domain.job import Parameter
from uws_service.web.form_page import Form, entered_form, new_job_page

NEW = f"{BASE}/crossmatch/new"


def inputs_of(page: str) -> dict[str, list[Any]]:
    """Return the inputs of the form by name."""
    [form] = parsed(page).findall(".//form")
    inputs: dict[str, list[Any]] = {}
    for element in form.xpath(".//input|.//select|.//textarea"):
        inputs.setdefault(element.get("name"), []).append(element)
    return inputs


def test_the_form_has_an_input_for_each_parameter() -> None:
    """U-122, U-123: multipart; PHASE=RUN only from its own button; defaults are placeholders."""
    page = new_job_page(Form(APPLICATION), BASE)
    tree = parsed(page)
    [form] = tree.findall(".//form")
    assert form.get("enctype") == "multipart/form-data"
    form_buttons = {name: entry for name, entry in buttons(tree).items() if not name.startswith("Add")}
    assert form_buttons == {"Create and run": ("post", NEW, "PHASE", "RUN"), "Create": ("post", NEW, "", "")}
    inputs = inputs_of(page)
    words = "RADIUS COUNT OPEN KIND FLAG POS TAG IMAGE IMAGE.url RESPONSEFORMAT MAXREC EXECUTIONDURATION RUNID"
    tables = "table-1 table-1.url table-1.name"
    assert set(inputs) == {*words.split(), *tables.split()}

    def attributes(name: str) -> dict[str, str]:
        names = ("type", "min", "max", "step", "value", "placeholder", "required")
        return {key: inputs[name][0].get(key) for key in names if inputs[name][0].get(key) is not None}

    assert attributes("RADIUS") == {"type": "number", "min": "0", "max": "0.5", "step": "any", "placeholder": "0.1"}
    assert attributes("COUNT") == {"type": "number", "min": "1", "step": "1"}
    assert attributes("OPEN") == {"type": "text", "required": ""}  # NaN and Inf must be possible
    assert attributes("IMAGE") == {"type": "file"} and attributes("IMAGE.url")["type"] == "url"
    assert attributes("MAXREC")["placeholder"] == "100" and attributes("MAXREC")["max"] == "2000"
    assert attributes("EXECUTIONDURATION")["max"] == "7200"
    assert len(inputs["TAG"]) == 3 and len(inputs["POS"]) == 1
    assert [element.get("value") for element in inputs["KIND"][0]] == ["", "a", EVIL]
    assert [element.text for element in inputs["RESPONSEFORMAT"][0]] == ["default: csv", "csv", "votable"]
    assert "UPLOAD" not in inputs  # nobody writes DALI's syntax
    folded = tree.find(".//details[@class='rare']")
    assert folded.get("open") is None and "EXECUTIONDURATION" in [item.get("name") for item in folded.iter("input")]


def test_an_earlier_job_is_entered() -> None:
    """Edit as new: values, names of files, what was changed of the time limit."""
    job = replace(FULL, parameters=(*FULL.parameters, Parameter("IMAGE", "m31.fits", upload="k", size=3)))
    page = new_job_page(Form(APPLICATION, job.parameters, "name", 60, earlier=job), BASE)
    inputs, tree = inputs_of(page), parsed(page)
    assert [item.get("value") for item in inputs["RADIUS"]] == ["2.5"] and inputs["RUNID"][0].get("value") == "name"
    assert inputs["table-1.name"][0].get("value") == "t" and inputs["table-1.part"][0].get("value") == "tab"
    assert [item.get("value") for item in inputs["WITHOUT"]] == ["IMAGE", "tab"]
    assert inputs["EXECUTIONDURATION"][0].get("value") == "60"
    assert "m31.fits" in tree.text_content() and "my table.vot" in tree.text_content()
    assert buttons(tree)["Create and run"][1] == f"{BASE}/crossmatch/async/{FULL.id}/copy"


def test_what_is_wrong_stands_beside_its_input() -> None:
    """The entries are there still; chosen files have to be chosen again."""
    problems = [Problem("RADIUS", f"Too much {EVIL}"), Problem("", "Both of them.")]
    files = [Parameter("IMAGE", "a.fits", upload="k", size=1)]
    page = new_job_page(entered_form(APPLICATION, [("RADIUS", "9"), ("TAG", EVIL)], files, problems), BASE)
    tree, inputs = parsed(page), inputs_of(page)
    assert inputs["RADIUS"][0].get("value") == "9" and inputs["RADIUS"][0].get("aria-invalid") == "true"
    assert inputs["TAG"][0].get("value") == EVIL and inputs["COUNT"][0].get("aria-invalid") is None
    assert tree.find(".//p[@id='RADIUS-error']").text.strip() == f"Too much {EVIL}"
    assert "Choose a.fits again" in tree.find(".//p[@id='IMAGE-error']").text
    assert [item.text for item in tree.findall(".//div[@role='alert']//li")][:2] == [
        f"Too much {EVIL}",
        "Both of them.",
    ]


def test_a_bare_application_has_a_form_too() -> None:
    """Nothing declared: a name and two buttons."""
    page = new_job_page(Form(Application("bare", "Bare", "", ("true",))), BASE)
    assert set(inputs_of(page)) == {"RUNID", "EXECUTIONDURATION"} and len(buttons(parsed(page))) == 2
