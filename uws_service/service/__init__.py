"""What a caller may ask: the half of the service that knows rows and policy, and no site."""
