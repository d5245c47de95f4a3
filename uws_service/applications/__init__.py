"""Applications: what may be run, declared in YAML, checked, and turned into what a site needs to run it."""

from uws_service.applications.files import load_applications
from uws_service.applications.launch import launch
from uws_service.applications.model import (
    AccessSpec,
    Application,
    Bound,
    CatalogueSpec,
    Example,
    ImagesSpec,
    Limits,
    MaxrecSpec,
    ParameterSpec,
    Resources,
    ResultSpec,
    UploadSpec,
)
from uws_service.applications.parameters import Checked, check
from uws_service.applications.reference import descriptor_reference

__all__ = [
    "AccessSpec",
    "Application",
    "Bound",
    "CatalogueSpec",
    "Checked",
    "Example",
    "ImagesSpec",
    "Limits",
    "MaxrecSpec",
    "ParameterSpec",
    "Resources",
    "ResultSpec",
    "UploadSpec",
    "check",
    "descriptor_reference",
    "launch",
    "load_applications",
]
