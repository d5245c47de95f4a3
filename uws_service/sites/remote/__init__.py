"""Sites that only call out: what the service keeps for their runners.

`executor` answers the site's controller from what the runner has reported, and leaves orders for it; `desk` is what the
runner calls; `messages` is what both send each other. The runner itself is `uws_service.runner`.
"""
