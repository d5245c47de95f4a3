"""Tests of the choice of a site."""
