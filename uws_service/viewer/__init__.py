"""Looking into the results of jobs: tables by pages, plots, skies, images.

A result may be anything that a user's program wrote. It is read in processes of their own, within bounds of memory and
time; the service itself gets JSON and pictures.
"""

from uws_service.viewer.viewers import ResultFile, Viewers

__all__ = ["ResultFile", "Viewers"]
