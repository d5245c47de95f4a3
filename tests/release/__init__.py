"""What a release consists of.

Built twice, installed without an index, its image run.
"""
