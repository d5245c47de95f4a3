"""A namespace of a Kubernetes cluster as a site.

Each attempt is exactly one ``batch/v1`` Job.

``manifest`` makes the Job (pure), ``seeing`` reads Jobs, Pods and Workloads as observations (pure), ``cluster`` speaks
to the API server, ``watching`` keeps a copy of what is there by list-then-watch, ``executor`` puts them together,
``tokens`` verifies the agents' service-account tokens. All but ``kind`` and ``settings`` is imported when there is
such a site: the HTTP client of clusters is large.
"""
