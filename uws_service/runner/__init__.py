"""The runner of a site that only calls out: it drives a kind of site there, by calls to the service alone.

`link` calls the service, `orders` carries out what that wants, `driver` reports what there is, `handover` brings it the
files of ended attempts, `relay` answers the site's agents in its place, and `spool` keeps what they hand over while the
service can't be called. What the service answers is in `uws_service.sites.remote`.
"""
