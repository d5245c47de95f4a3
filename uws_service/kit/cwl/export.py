"""An application as a CommandLineTool of CWL v1.2, without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from uws_service.applications import Application, ParameterSpec
from uws_service.applications.model import CONDITION, PLACEHOLDER, TRUE_WORDS
from uws_service.domain.errors import ConfigurationError
from uws_service.kit.cwl.importer import IANA

_TYPES = {"boolean": "boolean", "long": "long", "float": "float", "double": "double",
          "unsignedByte": "int", "short": "int", "int": "int"}  # fmt: skip
_MIB = 1024 * 1024
_OWN_PLACES = ("UWS_INPUT_DIR", "parameters.json", "UWS_JOB_ID", "UWS_MAXREC", "UWS_RESPONSEFORMAT")
"""What a command may read of the service's own, which a runner of CWL does not have."""


def export_tool(application: Application) -> tuple[dict[str, Any], list[str]]:
    """Return a CommandLineTool, and remarks on what it does otherwise.

    Raises
    ------
    ConfigurationError
        All that CWL can't say, one line each.
    """
    return _Export(application).run()


class _Export:
    """One application on its way to a tool."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.problems: list[str] = []
        self.arguments: list[dict[str, Any]] = []
        self.bindings: dict[str, dict[str, Any]] = {}
        self.item_bindings: dict[str, dict[str, Any]] = {}

    def run(self) -> tuple[dict[str, Any], list[str]]:
        application = self.application
        if application.standard.template or application.uploads is not None:
            what = "protocol" if application.standard.template else "uploads"
            raise ConfigurationError(
                f"{application.name}: {what}: what a service does for it has no counterpart in CWL"
            )
        for spec in application.parameters:
            if spec.dataset:
                self.problems.append(f"parameters: {spec.name}: data sets are found by a service; CWL takes files")
        self._words()
        tool: dict[str, Any] = {
            "cwlVersion": "v1.2",
            "class": "CommandLineTool",
            "id": application.name,
            "label": application.title,
            "doc": application.description,
            "requirements": self._requirements(),
        }
        if application.image:
            tool["hints"] = {"DockerRequirement": {"dockerPull": application.image}}
        tool |= {
            "baseCommand": application.command[0],
            "arguments": self.arguments,
            "inputs": {spec.name: self._input(spec) for spec in application.parameters},
            "outputs": {result.id: _output(result) for result in application.results},
        }
        if self.problems:
            raise ConfigurationError("\n".join(f"{application.name}: {problem}" for problem in self.problems))
        remarks = [
            "the command runs in the folder of its outputs, which is another one in a job of the service",
            "of the variables UWS_PARAM_… those are set that the command itself names",
        ]
        if any(result.formats for result in application.results):
            remarks.append("the first format of the result is always made: CWL has no RESPONSEFORMAT")
        return tool, remarks

    # -- the command ----------------------------------------------------------------------------------------------

    def _words(self) -> None:
        command = self.application.command
        if PLACEHOLDER.search(command[0]) or CONDITION.fullmatch(command[0]):
            self.problems.append("command[0]: the program itself depends on the job")
        skip = False
        for index, word in enumerate(command[1:], 1):
            if skip:
                skip = False
                continue
            following = command[index + 1] if index + 1 < len(command) else ""
            if (condition := CONDITION.fullmatch(word)) is not None:
                skip = self._condition(index, condition[1], condition[2], following)
            else:
                self._word(index, word)
        text = "\n".join(command)
        for place in _OWN_PLACES:
            if place in text.replace("${UWS_OUTPUT_DIR}", ""):
                self.problems.append(f"command: reads {place}, which only the service has")

    def _condition(self, index: int, name: str, text: str, following: str) -> bool:
        """Bind a word that is there with its parameter; whether the next word belongs to it."""
        spec = self.application.parameter(name)
        assert spec is not None  # the descriptor was checked
        if spec.datatype == "boolean" and not spec.file and spec.name not in self.bindings:
            self.bindings[spec.name] = {"position": index, "prefix": text}
            return False
        belongs = following.upper() in (f"{{{spec.name.upper()}}}", f"{{INPUT:{spec.name.upper()}}}")
        if not belongs or spec.name in self.bindings:
            self.problems.append(f"command[{index}]: CWL puts a prefix only before its own value")
            return False
        self.bindings[spec.name] = {"position": index, "prefix": text}
        return True

    def _word(self, index: int, word: str) -> None:
        matches = list(PLACEHOLDER.finditer(word))
        names = [match for match in matches if match[1] != "OUTPUT"]
        if len(names) == 1 and self._bind(index, word, names[0]):
            return
        for match in names:
            spec = self.application.parameter(match[2])
            if spec is None or not _is_always_there(spec) or spec.repeated:
                self.problems.append(f"command[{index}]: {match[0]} may have no value, or several, beside others")
        self.arguments.append({"position": index, "valueFrom": self._text(word, "")})

    def _bind(self, index: int, word: str, match: re.Match[str]) -> bool:
        """Bind a word with a single parameter to its input; False: it is an argument."""
        spec = self.application.parameter(match[2])
        if spec is None or spec.name in self.bindings or spec.datatype == "boolean":
            return False
        before, after = word[: match.start()], word[match.end() :]
        binding: dict[str, Any] = {"position": index}
        if spec.repeated:
            if after or PLACEHOLDER.search(before) or "${" in before:
                return False
            self.item_bindings[spec.name] = {"prefix": before, "separate": False} if before else {}
        elif after or PLACEHOLDER.search(before) or "${" in before or "$(" in before:
            binding["valueFrom"] = self._text(word, match[2])
        elif before:
            binding |= {"prefix": before, "separate": False}
        self.bindings[spec.name] = binding
        return True

    def _text(self, word: str, own: str) -> str:
        """Return a word with CWL's references; ``own`` is the input that is ``self``."""
        parts, end = [], 0
        for match in re.finditer(rf"{PLACEHOLDER.pattern}|\$\{{(?:UWS_OUTPUT_DIR|UWS_PROGRESS_FILE)\}}", word):
            parts.append(_escaped(word[end : match.start()]))
            parts.append(self._reference(match, own))
            end = match.end()
        return "".join([*parts, _escaped(word[end:])])

    def _reference(self, match: re.Match[str], own: str) -> str:
        if match[2] is None:
            return "$(runtime.outdir)" if "OUTPUT" in match[0] else "$(runtime.tmpdir)/progress"
        if match[1] == "OUTPUT":
            result = self.application.result(match[2])
            return f"$(runtime.outdir)/{result.path if result is not None else ''}"
        spec = self.application.parameter(match[2])
        name = "self" if match[2] == own else f"inputs.{spec.name if spec is not None else match[2]}"
        return f"$({name}.path)" if match[1] == "INPUT" else f"$({name})"

    # -- inputs, requirements -------------------------------------------------------------------------------------

    def _input(self, spec: ParameterSpec) -> dict[str, Any]:
        kind: Any = "File" if spec.file else _TYPES.get(spec.datatype, "string")
        if spec.arraysize is not None and kind != "File":
            kind = "string"  # numbers of an array are one value here, such as a circle
        if spec.options:
            kind = {"type": "enum", "symbols": list(spec.options)}
        if spec.repeated:
            kind = {"type": "array", "items": kind}
            if self.item_bindings.get(spec.name):
                kind["inputBinding"] = self.item_bindings[spec.name]
        field: dict[str, Any] = {"type": kind if _is_always_there(spec) else ["null", kind]}
        if spec.default is not None:
            field["default"] = _default(spec)
        if spec.description:
            field["doc"] = spec.description
        if spec.name in self.bindings:
            field["inputBinding"] = self.bindings[spec.name]
        return field

    def _requirements(self) -> dict[str, Any]:
        needs, limits = self.application.resources, self.application.limits
        resources = {
            "coresMin": int(needs.cpu) if needs.cpu == int(needs.cpu) else needs.cpu,
            "ramMin": -(-needs.memory // _MIB),
            "tmpdirMin": -(-needs.disk // _MIB),
            "outdirMin": -(-limits.output // _MIB),
        }
        requirements: dict[str, Any] = {"ResourceRequirement": resources, "NetworkAccess": {"networkAccess": False}}
        if limits.execution_duration.default:
            requirements["ToolTimeLimit"] = {"timelimit": limits.execution_duration.default}
        text = "\n".join(self.application.command)
        variables = {"UWS_OUTPUT_DIR": "$(runtime.outdir)", "UWS_PROGRESS_FILE": "$(runtime.tmpdir)/progress"}
        for spec in self.application.parameters:
            name = f"UWS_PARAM_{spec.name.upper()}"
            is_text = spec.arraysize is not None or bool(spec.options) or spec.datatype not in _TYPES
            if name not in text:
                continue
            if _is_always_there(spec) and is_text and not spec.file and not spec.repeated:
                variables[name] = f"$(inputs.{spec.name})"
            else:
                self.problems.append(f"command: reads {name}; CWL's variables are texts that always have a value")
        requirements["EnvVarRequirement"] = {"envDef": variables}
        return requirements


def _is_always_there(spec: ParameterSpec) -> bool:
    return spec.required or spec.default is not None


def _default(spec: ParameterSpec) -> Any:
    text = str(spec.default)
    if spec.file:
        return {"class": "File", "location": text}
    if spec.arraysize is not None or spec.options or spec.datatype not in _TYPES:
        value: Any = text
    elif spec.datatype == "boolean":
        value = text.lower() in TRUE_WORDS
    else:
        value = float(text) if spec.datatype in ("float", "double") else int(text)
    return [value] if spec.repeated else value


def _output(result: Any) -> Mapping[str, Any]:
    kind = "File[]" if "*" in result.path else "File" if result.required else "File?"
    return {"type": kind, "format": IANA + result.media_type.replace(" ", ""), "outputBinding": {"glob": result.path}}


def _escaped(text: str) -> str:
    """Return a text that holds no reference (CWL v1.2 §3.4.2)."""
    return text.replace("\\", "\\\\").replace("$(", "\\$(").replace("${", "\\${")
