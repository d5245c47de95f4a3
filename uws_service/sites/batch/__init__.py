"""Sites that are batch systems: what they share, and one module or folder for each system."""
