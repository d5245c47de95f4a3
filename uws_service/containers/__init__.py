"""Commands in container images that a job names itself."""

from uws_service.containers.allow_list import AllowedImage, Containers
from uws_service.containers.descriptor import CONTAINER
from uws_service.containers.references import Reference, parse_reference

__all__ = ["CONTAINER", "AllowedImage", "Containers", "Reference", "parse_reference"]
