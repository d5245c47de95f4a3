"""TAP: writers, catalogues, the service by its clients."""
