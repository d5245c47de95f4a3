"""Slurm clusters as sites."""
