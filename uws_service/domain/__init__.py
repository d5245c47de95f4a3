"""The words of the service as pure data: jobs, attempts, decisions, errors."""
