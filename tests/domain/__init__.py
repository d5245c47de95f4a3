"""Tests of the pure words and decisions."""
