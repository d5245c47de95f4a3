"""A real Kubernetes cluster of one node, or several side by side, on this machine; see README.md."""
