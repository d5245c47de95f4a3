"""uws-service: IVOA UWS and DALI jobs, from one process on a laptop to Kubernetes Jobs at many sites."""

__version__ = "0.1.0.dev0"
