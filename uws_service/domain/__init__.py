"""Jobs, attempts, decisions and errors as pure data."""
