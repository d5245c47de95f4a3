"""Who calls, and what that caller may do.

``identity`` is what is known of a caller; ``credentials`` finds the token in a request; ``keys`` holds the issuers'
keys; ``claims`` judges what a token says; ``groups`` says whose groups are meant; ``tokens`` puts these together;
``policy`` decides; ``quotas`` counts; ``permissions`` asks SRCNet. What is pure is apart from what needs the network.
"""

from uws_service.auth.identity import (
    ANONYMOUS,
    Identity,
    Network,
    identify,
    is_trusted,
    networks,
    require_access,
)

__all__ = ["ANONYMOUS", "Identity", "Network", "identify", "is_trusted", "networks", "require_access"]
