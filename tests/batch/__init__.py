"""Real batch systems on this machine.

HTCondor and Slurm out of a tree of Debian 13, without containers or systemd.
"""
