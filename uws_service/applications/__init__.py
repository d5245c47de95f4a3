"""Applications: declared in YAML, checked, prepared for sites."""

from uws_service.applications.files import CONTAINER, load_applications
from uws_service.applications.launch import launch
from uws_service.applications.model import (
    AccessSpec,
    Application,
    Bound,
    Example,
    Limits,
    MaxrecSpec,
    ParameterSpec,
    Resources,
    ResultSpec,
    UploadSpec,
)
from uws_service.applications.parameters import Checked, check
from uws_service.applications.reference import descriptor_reference
from uws_service.applications.standard import PLAIN, Standard

__all__ = [
    "CONTAINER",
    "PLAIN",
    "AccessSpec",
    "Application",
    "Bound",
    "Checked",
    "Example",
    "Limits",
    "MaxrecSpec",
    "ParameterSpec",
    "Resources",
    "ResultSpec",
    "Standard",
    "UploadSpec",
    "check",
    "descriptor_reference",
    "launch",
    "load_applications",
]
