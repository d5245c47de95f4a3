"""Which site a job goes to, and why."""
