"""The agent: looks after one attempt where it runs.

Standard library only, and nothing of the rest of the package.
"""
