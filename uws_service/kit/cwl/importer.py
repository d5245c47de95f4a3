"""A CommandLineTool as a descriptor.

CWL's commands run in the folder of their outputs; those of descriptors in a folder of their own. So a shell changes the
folder first, and redirects standard input and output where the tool says so; what users send is never in its script.
"""

from __future__ import annotations

import mimetypes
import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from uws_service.domain.errors import ConfigurationError
from uws_service.kit.cwl.inputs import Inputs
from uws_service.kit.cwl.references import Unmappable, is_expression, translated
from uws_service.kit.cwl.tool import Port, Tool, local_name
from uws_service.protocol.file_names import ENDINGS

IANA = "https://www.iana.org/assignments/media-types/"
_EDAM = {"3752": "text/csv", "3475": "text/tab-separated-values", "3464": "application/json", "2332": "text/xml",
         "3603": "image/png", "3579": "image/jpeg", "2330": "text/plain"}  # fmt: skip
_HARMLESS = frozenset("InlineJavascriptRequirement NetworkAccess WorkReuse LoadListingRequirement".split())
_UNDERSTOOD = _HARMLESS | {"DockerRequirement", "ResourceRequirement", "EnvVarRequirement", "ToolTimeLimit"}
_STREAMS = ("stdin", "stdout", "stderr")
_NAME_OF_INPUT = re.compile(r"\$\(inputs\.(\w+)\)")


def import_tool(tool: Tool) -> tuple[dict[str, Any], list[str]]:
    """Return a descriptor's fields, and remarks on what is other than it was.

    Raises
    ------
    ConfigurationError
        All that can't be mapped, one line each, with its place in the tool.
    """
    return _Import(tool).run()


class _Import:
    """One tool on its way to a descriptor."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.inputs = Inputs(tool, self._fixed_names())
        self.fields: dict[str, Any] = {}
        self.resources: dict[str, Any] = {}

    def run(self) -> tuple[dict[str, Any], list[str]]:
        tool = self.tool
        name = self._application_name()
        label, doc = tool.text("label"), tool.text("doc")
        self.fields = {
            "name": name,
            "title": (label or doc.partition("\n")[0] or name).strip()[:200],
            "description": doc
            or label
            or f"The command {' '.join(tool.base_command)}, by the CWL tool {tool.file.name}.",
        }
        environment = self._requirements()
        results = [result for port in tool.outputs for result in self._results(port)]
        if not results:
            self.problems.append("outputs: there is no file among them; an application has a result at least")
        command = self._command(environment)
        self.fields |= {"command": command, "parameters": self.inputs.parameters}
        if self.resources:
            self.fields["resources"] = self.resources
        self.fields["results"] = results
        if not self.inputs.parameters:
            del self.fields["parameters"]
        problems = [*self.inputs.problems, *self.problems]
        if problems:
            raise ConfigurationError("\n".join(f"{tool.file}: {problem}" for problem in dict.fromkeys(problems)))
        return self.fields, list(dict.fromkeys([*self.inputs.remarks, *self.remarks]))

    def _application_name(self) -> str:
        identifier = local_name(str(self.tool.raw.get("id", ""))) or self.tool.file.name
        name = re.sub(r"[^a-z0-9]+", "-", identifier.lower().removesuffix(".cwl").removesuffix(".tool")).strip("-")
        return (name if name[:1].isalpha() else f"cwl-{name}")[:40].rstrip("-")

    def _guarded(self, place: str, act: Callable[[], Any]) -> Any:
        """Return what the function returns; what can't be mapped is a problem at the place."""
        try:
            return act()
        except Unmappable as error:
            self.problems.append(f"{place}: {error}")
            return None

    # -- requirements ---------------------------------------------------------------------------------------------

    def _requirements(self) -> list[str]:
        """Take over what is understood; return the words ``NAME=value`` of the environment."""
        for kind in self.tool.requirements.keys() - _UNDERSTOOD:
            self.problems.append(f"requirements: {kind} can't be met; understood: {', '.join(sorted(_UNDERSTOOD))}")
        for kind in sorted(self.tool.hints.keys() - _UNDERSTOOD):
            self.remarks.append(f"hints: {kind} is left out")
        every = {**self.tool.hints, **self.tool.requirements}
        docker = every.get("DockerRequirement", {})
        if image := docker.get("dockerPull") or docker.get("dockerImageId"):
            self.fields["image"] = str(image)
        elif docker:
            self.problems.append("DockerRequirement: only dockerPull names an image that sites can pull")
        self._resources(every.get("ResourceRequirement", {}))
        limit = every.get("ToolTimeLimit", {}).get("timelimit", 0)
        if not isinstance(limit, int):
            self.problems.append(f"ToolTimeLimit: timelimit: {limit!r} must be a number of seconds")
        elif limit:
            self.fields["limits"] = {"execution_duration": {"default": limit, "maximum": limit}}
        return self._environment(every.get("EnvVarRequirement", {}).get("envDef", {}))

    def _resources(self, raw: Mapping[str, Any]) -> None:
        mebibytes = {"memory": ("ramMin", "ramMax"), "disk": ("tmpdirMin", "tmpdirMax")}
        for field, names in {"cpu": ("coresMin", "coresMax"), **mebibytes}.items():
            value = next((raw[name] for name in names if name in raw), None)
            if value is None:
                continue
            if not isinstance(value, int | float):
                self.problems.append(f"ResourceRequirement: {names[0]}: {value!r} must be a number")
            else:
                self.resources[field] = value if field == "cpu" else f"{max(1, round(value))}MiB"

    def _environment(self, raw: Any) -> list[str]:
        pairs = raw.items() if isinstance(raw, dict) else ((item["envName"], item["envValue"]) for item in raw)
        words = []
        for name, value in pairs:
            if str(name).startswith("UWS_"):
                continue  # the service sets them itself
            text = str(value["envValue"] if isinstance(value, dict) else value)
            word = self._guarded(f"EnvVarRequirement: {name}", partial(self._word, text))
            if word is not None:
                words.append(f"{name}={word}")
        return words

    # -- the command ----------------------------------------------------------------------------------------------

    def _word(self, text: str) -> str:
        return translated(text, self.inputs.placeholder, self._runtime)

    def _runtime(self, attribute: str) -> str:
        if attribute == "outdir":
            return "${UWS_OUTPUT_DIR}"
        if attribute == "cores" and isinstance(self.resources.get("cpu", 1), int):
            return str(self.resources.get("cpu", 1))
        raise Unmappable(f"runtime.{attribute} is not known here")

    def _command(self, environment: list[str]) -> list[str]:
        placed: list[tuple[tuple[int, int, Any], list[str]]] = []
        for index, argument in enumerate(self.tool.raw.get("arguments", ())):
            words = self._guarded(f"arguments[{index}]", partial(self._argument, argument))
            position = argument.get("position", 0) if isinstance(argument, dict) else 0
            placed.append(((self._position(position, f"arguments[{index}]"), 0, index), words or []))
        for port in self.tool.inputs:
            if "inputBinding" not in port.raw and port.type.item_binding is None:
                continue
            binding = port.raw.get("inputBinding") or port.type.item_binding or {}
            words = self._guarded(f"inputs: {port.id}", partial(self._bound_words, port))
            place = self._position(binding.get("position", 0), f"inputs: {port.id}")
            placed.append(((place, 1, port.id), words or []))
        words = [
            *self.tool.base_command,
            *(word for _, words in sorted(placed, key=lambda part: part[0]) for word in words),
        ]
        if not words:
            self.problems.append("baseCommand: there is no command")
        if self.tool.raw.get("successCodes", [0]) != [0]:
            self.problems.append("successCodes: exit code 0 alone means success")
        env = ["env", *environment] if environment else []
        return ["sh", "-c", self._script(), "sh", *env, *words]

    def _bound_words(self, port: Port) -> list[str]:
        return list(self.inputs.words(port))

    def _position(self, value: Any, place: str) -> int:
        if isinstance(value, int):
            return value
        self.problems.append(f"{place}: position: {value!r} must be a number")
        return 0

    def _argument(self, argument: Any) -> list[str]:
        if isinstance(argument, str):
            return [self._word(argument)]
        if argument.get("shellQuote") is False:
            raise Unmappable("shellQuote: false lets a user's value be a part of a shell's script")
        value, prefix = self._word(str(argument.get("valueFrom", ""))), str(argument.get("prefix") or "")
        if prefix and argument.get("separate", True):
            return [prefix, value]
        return [prefix + value]

    def _script(self) -> str:
        """Return the script that runs the words which follow it."""
        redirections = []
        for port in self.tool.inputs:
            if port.type.name == "stdin":
                redirections.append(self._standard_input(port.id))
        if "stdin" in self.tool.raw:
            match = re.fullmatch(r"\$\(inputs\.(\w+)\.(path|location)\)", str(self.tool.raw["stdin"]))
            if match is None:
                self.problems.append("stdin: only the file of an input, $(inputs.NAME.path), can be standard input")
            else:
                redirections.append(self._standard_input(match[1]))
        for stream, sign in (("stdout", ">"), ("stderr", "2>")):
            if stream in self.tool.raw or any(port.type.name == stream for port in self.tool.outputs):
                redirections.append(f"{sign} {shlex.quote(self._stream_file(stream))}")
        return " ".join(['cd "$UWS_OUTPUT_DIR" && exec "$@"', *redirections])

    def _standard_input(self, identifier: str) -> str:
        port = self.inputs.ports.get(identifier)
        if port is None or identifier not in self.inputs.names or port.type.is_optional:
            self.problems.append(f"stdin: {identifier!r} must be a file that is always sent")
            return ""
        return f'< "$UWS_INPUT_DIR/files/{self.inputs.names[identifier]}"'

    def _stream_file(self, stream: str) -> str:
        name = str(self.tool.raw.get(stream, f"{stream}.txt"))
        return self._file_name(name, stream, f"{stream}.txt")

    # -- outputs --------------------------------------------------------------------------------------------------

    def _fixed_names(self) -> dict[str, str]:
        """Return inputs that only name what the tool writes, with the name that is used in every job."""
        fixed = {}
        texts = [str((port.raw.get("outputBinding") or {}).get("glob", "")) for port in self.tool.outputs]
        for text in [*texts, *(str(self.tool.raw.get(stream, "")) for stream in ("stdout", "stderr"))]:
            for identifier in _NAME_OF_INPUT.findall(text):
                port = next((port for port in self.tool.inputs if port.id == identifier), None)
                if port is not None and port.type.name == "string" and not port.type.array:
                    fixed[identifier] = str(port.raw.get("default") or identifier)
                    self.remarks.append(f"inputs: {identifier}: names an output; it is always {fixed[identifier]!r}")
        return fixed

    def _file_name(self, text: str, place: str, fallback: str) -> str:
        """Return the name of a file that the tool writes; one that depends on the job becomes a fixed one."""
        for identifier, value in self.inputs.fixed.items():
            text = text.replace(f"$(inputs.{identifier})", value)
        if is_expression(text):
            if place not in _STREAMS:
                raise Unmappable(f"{text!r} depends on the job; the names of results are the same in all jobs")
            self.remarks.append(f"{place}: the file is always called {fallback!r} (was {text!r})")
            return fallback
        return text

    def _results(self, port: Port) -> list[dict[str, Any]]:
        if port.type.name in ("stdout", "stderr"):
            return [self._result(port, self._stream_file(port.type.name), "text/plain")]
        binding = port.raw.get("outputBinding") or {}
        if port.type.name != "File" or port.type.problem:
            if port.type.name in ("Directory", "record") or "glob" not in binding:
                self.problems.append(
                    f"outputs: {port.id}: {port.type.problem or port.type.name} can't be a result; files can"
                )
            else:
                self.remarks.append(f"outputs: {port.id}: left out: it is a value that an expression computes")
            return []
        if port.raw.get("secondaryFiles"):
            self.problems.append(f"outputs: {port.id}: secondaryFiles must be outputs of their own")
        globs = binding.get("glob", [])
        results = []
        place = f"outputs: {port.id}: glob"
        for pattern in [globs] if isinstance(globs, str) else globs:
            path = self._guarded(place, partial(self._file_name, str(pattern), place, ""))
            if path is None:
                continue
            if re.search(r"[?\[\]]", path):
                self.problems.append(f"{place}: {path!r}: `*` is the only wildcard of results")
            results.append(self._result(port, path.removeprefix("./"), ""))
        if not results and not self.problems:
            self.problems.append(f"outputs: {port.id}: outputBinding.glob is missing")
        return results

    def _result(self, port: Port, path: str, media_type: str) -> dict[str, Any]:
        streams = {self.tool.raw.get("stdout")} - {None}
        kind = self._media_type(port.raw.get("format")) or _by_name(path) or media_type
        kind = kind or ("text/plain" if path in streams else "application/octet-stream")
        result: dict[str, Any] = {"id": re.sub(r"[^A-Za-z0-9._-]", "_", port.id), "path": path, "media_type": kind}
        if port.type.is_optional or (port.type.array and "*" in path):
            result["required"] = False
        return result

    def _media_type(self, raw: Any) -> str:
        text = str(raw or "")
        if text.startswith(IANA):
            return text.removeprefix(IANA)
        number = re.search(r"format_(\d+)$", text)
        return _EDAM.get(number[1], "") if number is not None else ""


def _by_name(path: str) -> str:
    """Return a media type by a file's ending; empty if it tells nothing."""
    for kind, ending in ENDINGS.items():
        if path.lower().endswith(ending):
            return kind
    return mimetypes.guess_type(path)[0] or ""
