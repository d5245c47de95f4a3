"""Sites that are HTCondor pools.

`ads` has the pure part: what a job is submitted with, and what its ClassAd shows. `helper` is a process of its own in
which HTCondor's library runs; `client` starts it again when it has ended; `system` makes a batch system of both.
"""
