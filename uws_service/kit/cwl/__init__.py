"""CommandLineTools of the Common Workflow Language, v1.0 to v1.2, as applications and back.

What can't be said in the other language is an error with its place, never left out in silence.
"""

from uws_service.kit.cwl.export import export_tool
from uws_service.kit.cwl.importer import import_tool
from uws_service.kit.cwl.tool import Tool, read_tool

__all__ = ["Tool", "export_tool", "import_tool", "read_tool"]
