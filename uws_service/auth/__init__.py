"""Who calls, and what that caller may do.

``identity`` is what is known of a caller; ``credentials`` finds the token in a request; ``keys`` holds the issuers'
keys; ``claims`` judges what a token says; ``tokens`` puts these together; ``policy`` decides; ``quotas`` counts;
``permissions`` asks SRCNet. What is pure is apart from what talks to the network.
"""

from uws_service.auth.identity import (
    ANONYMOUS,
    Identity,
    Network,
    identify,
    is_trusted,
    networks,
    normal_group,
    require_access,
)

__all__ = ["ANONYMOUS", "Identity", "Network", "identify", "is_trusted", "networks", "normal_group", "require_access"]
