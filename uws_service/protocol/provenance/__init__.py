"""The provenance of jobs: IVOA ProvDM 1.0 in W3C PROV-JSON and PROV-N.

Pure: values to bytes. ``graph`` holds a provenance graph, ``mapping`` makes it of jobs, ``forms`` writes it.
"""

from uws_service.protocol.provenance.forms import prov_json, prov_n
from uws_service.protocol.provenance.graph import Graph, Name
from uws_service.protocol.provenance.internal import BYTES_MAX, FILE
from uws_service.protocol.provenance.mapping import Detail, add_internal, add_job
from uws_service.protocol.provenance.record import JobRecord, OwnResult, own_result

__all__ = [
    "BYTES_MAX",
    "FILE",
    "Detail",
    "Graph",
    "JobRecord",
    "Name",
    "OwnResult",
    "add_internal",
    "add_job",
    "own_result",
    "prov_json",
    "prov_n",
]
