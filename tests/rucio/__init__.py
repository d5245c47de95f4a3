"""A real Rucio server and WebDAV storage for tests, in a virtual environment of their own."""
