"""Data sets as inputs of jobs: identifiers, catalogues, replicas."""
