"""The environment of ``cwltool``, the reference runner of CWL, whose own test tools are imported here."""

from __future__ import annotations

from tests.environments import of_tests

CWL = of_tests("cwl", "cwltool is")
