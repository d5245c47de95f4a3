"""The half of the service that serves callers: rows and policy, no sites."""
