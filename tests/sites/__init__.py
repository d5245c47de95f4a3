"""Tests of the sites' half of the service."""
