"""Real Kubernetes clusters on this machine, for tests and for trying the service out."""
