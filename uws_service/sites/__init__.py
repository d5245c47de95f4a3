"""The sites: the half of the service that knows rows and clusters, and no caller."""
