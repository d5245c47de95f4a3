"""The sites.

The half of the service that knows rows and clusters, and no caller.
"""
