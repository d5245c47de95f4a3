"""The inputs of a tool as parameters of an application, and their words of the command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from uws_service.applications.provenance import STANDARD, UWS_WORDS
from uws_service.kit.cwl.references import Unmappable, is_expression, translated
from uws_service.kit.cwl.tool import Port, Tool

TYPES = {"boolean": "boolean", "int": "int", "long": "long", "float": "float", "double": "double"}
FILES = ("File", "stdin")
_OF_FILES = ("path", "location")


class Inputs:
    """The inputs of one tool.

    ``fixed`` are those that only name a file which the tool writes: that name is the same in every job.
    """

    def __init__(self, tool: Tool, fixed: Mapping[str, str]) -> None:
        self.fixed = fixed
        self.ports = {port.id: port for port in tool.inputs}
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.names: dict[str, str] = {}
        """The names of parameters by ids of inputs."""
        self.parameters: list[dict[str, Any]] = []
        for port in tool.inputs:
            if port.id not in fixed:
                self._declare(port)

    def _declare(self, port: Port) -> None:
        problem = port.type.problem or ("files in any number" if port.type.array and port.type.name in FILES else "")
        if not problem and port.raw.get("secondaryFiles"):
            problem = "a file with secondary files"
        if problem and (port.type.is_optional or "default" in port.raw):
            self.remarks.append(f"inputs: {port.id}: left out: it takes {problem}, and the tool works without it")
            return
        if problem:
            self.problems.append(f"inputs: {port.id}: takes {problem}, which no parameter can")
            return
        name = self.names[port.id] = self._name(port.id)
        spec: dict[str, Any] = {"name": name}
        if port.type.name in FILES:
            spec["file"] = True
        elif port.type.name in TYPES:
            spec["datatype"] = TYPES[port.type.name]
        else:
            spec |= {"datatype": "char", "arraysize": "*"}
        if port.type.symbols:
            spec["options"] = list(port.type.symbols)
        if port.type.array:
            spec["repeated"] = True
        self._default(port, spec)
        text = " ".join(str(port.raw.get("doc") or port.raw.get("label") or "").split())
        if text:
            spec["description"] = text
        self.parameters.append(spec)

    def _name(self, identifier: str) -> str:
        name = re.sub(r"\W", "_", identifier, flags=re.ASCII).upper()[:60]
        if not name[:1].isalpha() or name in STANDARD | UWS_WORDS:
            name = f"P_{name}"
        while name in self.names.values():
            name += "_"
        if name != identifier.upper():
            self.remarks.append(f"inputs: {identifier}: the parameter is called {name}")
        return name

    def _default(self, port: Port, spec: dict[str, Any]) -> None:
        default = port.raw.get("default")
        if isinstance(default, dict):
            location = str(default.get("location") or default.get("path") or "")
            default = location if location.lower().startswith(("http://", "https://")) else None
            if default is None:
                self.remarks.append(f"inputs: {port.id}: the default is a file of its author's machine; it is required")
        elif isinstance(default, list):
            self.problems.append(f"inputs: {port.id}: default: a list can't be a default")
            return
        if default is not None:
            spec["default"] = default
        elif not port.type.is_optional:
            spec["required"] = True

    # -- words ----------------------------------------------------------------------------------------------------

    def placeholder(self, identifier: str, attribute: str) -> str:
        """Return what stands for an input in a word, or raise `Unmappable`."""
        if identifier in self.fixed:
            return self.fixed[identifier]
        if identifier not in self.ports:
            raise Unmappable(f"there is no input {identifier!r}; inputs: {', '.join(self.ports) or 'none'}")
        if identifier not in self.names:
            raise Unmappable(f"the input {identifier!r} is left out")
        is_file = self.ports[identifier].type.name in FILES
        if is_file and attribute not in _OF_FILES:
            raise Unmappable(f"{attribute or 'the value'} of the file {identifier!r} is not known before the job runs")
        if attribute and not is_file:
            raise Unmappable(f"{identifier!r} is no file, and has no {attribute}")
        return f"{{INPUT:{self.names[identifier]}}}" if is_file else f"{{{self.names[identifier]}}}"

    def words(self, port: Port) -> Iterator[str]:
        """Yield the words of a bound input (CWL v1.2 §5.3)."""
        binding = port.raw.get("inputBinding") or {}
        item = port.type.item_binding
        if port.id in self.fixed:
            prefix, text = str(binding.get("prefix", "")), self.fixed[port.id]
            yield from [prefix, text] if prefix and binding.get("separate", True) else [prefix + text]
            return
        if port.id not in self.names:
            return
        name, prefix = self.names[port.id], str(binding.get("prefix") or "")
        if re.search(r"[{}]", prefix):
            raise Unmappable(f"the prefix {prefix!r} has braces, which mean something else in a descriptor")
        if port.type.name == "boolean" and not port.type.array:
            yield from [f"{{{name}?{prefix}}}"] if prefix else []
            return
        value = self._value(port, binding)
        if port.type.array:
            yield from self._array(port, name, prefix, value, binding, item)
        elif not prefix:
            yield value
        elif not binding.get("separate", True):
            yield prefix + value
        else:
            yield prefix if self._is_always_there(port) else f"{{{name}?{prefix}}}"
            yield value

    def _value(self, port: Port, binding: Mapping[str, Any]) -> str:
        own = self.placeholder(port.id, "path" if port.type.name in FILES else "")
        text = binding.get("valueFrom")
        if text is None:
            return own

        def replace(identifier: str, attribute: str) -> str:
            return self.placeholder(port.id if identifier == "self" else identifier, attribute)

        return translated(str(text), replace, _no_runtime)

    def _array(
        self,
        port: Port,
        name: str,
        prefix: str,
        value: str,
        binding: Mapping[str, Any],
        item: Mapping[str, Any] | None,
    ) -> Iterator[str]:
        if "itemSeparator" in binding:
            raise Unmappable("itemSeparator joins values to one word; repeated values are words of their own")
        if prefix:
            if not binding.get("separate", True):
                raise Unmappable("a prefix that is joined with the first of several values")
            yield prefix if self._is_always_there(port) else f"{{{name}?{prefix}}}"
        item_prefix = str((item or {}).get("prefix") or "")
        if item_prefix and (item or {}).get("separate", True):
            raise Unmappable(f"the prefix {item_prefix!r} before each of several values, as a word of its own")
        if re.search(r"[{}]", item_prefix) or is_expression(str((item or {}).get("valueFrom", ""))):
            raise Unmappable("values that are made of each item")
        yield item_prefix + value

    @staticmethod
    def _is_always_there(port: Port) -> bool:
        return not port.type.is_optional or port.raw.get("default") is not None


def _no_runtime(attribute: str) -> str:
    raise Unmappable(f"runtime.{attribute} in a value of an input")
