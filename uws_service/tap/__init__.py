"""TAP 1.1: tables published from files or PostgreSQL, queried in ADQL."""
