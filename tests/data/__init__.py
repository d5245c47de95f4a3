"""Data sets: identifiers, catalogues, replicas."""
