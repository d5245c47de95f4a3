"""A checked job as what a site needs to run it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from uws_service.applications.model import CONDITION, PLACEHOLDER, TRUE_WORDS, Application
from uws_service.applications.parameters import LONGEST_WORD, Checked, main_result
from uws_service.data.replicas import data_path
from uws_service.domain.attempt import ExpectedResult, Launch
from uws_service.domain.job import Job


def launch(application: Application, job: Job, checked: Checked, number: int) -> Launch:
    """Return all that attempt ``number`` needs of any site."""
    environment = {"UWS_JOB_ID": job.id}
    for name, values in checked.values.items():
        text = "\n".join(value.replace("\0", "") for value in values)
        if len(text.encode(errors="replace")) <= LONGEST_WORD:  # a longer one is in parameters.json only
            environment[f"UWS_PARAM_{name.upper()}"] = text
    if checked.format is not None:
        environment["UWS_RESPONSEFORMAT"] = checked.format
    if checked.maxrec is not None:
        environment["UWS_MAXREC"] = str(checked.maxrec)
    environment |= application.standard.environment(application, job)
    described = {name: values[0] if len(values) == 1 else list(values) for name, values in checked.values.items()}
    plan = Launch(
        job_id=job.id,
        number=number,
        application=application.name,
        owner=job.owner or "",
        command=render(application, checked),
        image=application.image,
        environment=environment,
        parameters=json.dumps(described),
        inputs=checked.inputs,
        results=_results(application, checked),
        data=checked.data,
        duration=application.limits.execution_duration.maximum,  # the job's own may still be changed
        cpu=application.resources.cpu,
        memory=application.resources.memory,
        max_output=application.limits.output,
        disk=application.resources.disk,
        gpus=application.resources.gpus,
        passed=application.standard.passed_variables(application),
        token_variable=application.data_token.variable if application.data_token is not None else "",
    )
    return application.standard.shape(application, checked, plan)


def render(application: Application, checked: Checked) -> tuple[str, ...]:
    """Return the command with its placeholders filled.

    An element whose parameter has no value is left out; one with several values is repeated. A value is always part
    of one element, so it can't become an argument of its own.
    """
    # A table may have the name of a file parameter; the declared one counts.
    staged = sorted(checked.inputs, key=lambda staged_input: staged_input.path.startswith("files/"))
    paths = {staged_input.name.upper(): f"${{UWS_INPUT_DIR}}/{staged_input.path}" for staged_input in staged}
    paths |= {parameter.name.upper(): data_path(parameter.name) for parameter in checked.data}
    values = {name.upper(): value for name, value in checked.values.items()} | _standard_values(checked)
    files = {name: (path,) for name, path in paths.items()}
    outputs = {result.id: (f"${{UWS_OUTPUT_DIR}}/{result.path}",) for result in application.results}
    rendered: list[str] = []
    for element in application.command:
        if (condition := CONDITION.fullmatch(element)) is not None:
            name, word = condition[1].upper(), condition[2]
            if files.get(name) or _holds(application, name, values.get(name, ())):
                rendered.append(word)
            continue
        choices = [
            outputs.get(name, ()) if kind == "OUTPUT" else (files if kind else values).get(name.upper(), ())
            for kind, name in PLACEHOLDER.findall(element)
        ]
        if any(not choice for choice in choices):
            continue
        for index in range(max((len(choice) for choice in choices), default=1)):
            picked = iter([choice[min(index, len(choice) - 1)] for choice in choices])
            rendered.append(_filled(element, picked))
    return tuple(rendered)


def _standard_values(checked: Checked) -> dict[str, tuple[str, ...]]:
    """Return the values of DALI's parameters that a command may name."""
    chosen = {"RESPONSEFORMAT": checked.format, "MAXREC": checked.maxrec}
    return {name: (str(value),) for name, value in chosen.items() if value is not None}


def _holds(application: Application, name: str, values: tuple[str, ...]) -> bool:
    """Return whether a parameter has a value; a boolean one: whether that is true."""
    spec = application.parameter(name)
    if spec is not None and spec.datatype == "boolean":
        return any(value.lower() in TRUE_WORDS for value in values)
    return bool(values)


def _filled(element: str, values: Iterator[str]) -> str:
    """Return a word with its placeholders replaced in order.

    An argument can't hold a NUL.
    """
    return PLACEHOLDER.sub(lambda _: next(values).replace("\0", ""), element)


def _results(application: Application, checked: Checked) -> tuple[ExpectedResult, ...]:
    main = main_result(application)
    results = []
    for result in application.results:
        expected = ExpectedResult(result.id, result.path, result.media_type, result.required)
        if result is main and checked.media_type is not None:
            expected = replace(expected, media_type=checked.media_type)
        results.append(expected)
    return tuple(results)
