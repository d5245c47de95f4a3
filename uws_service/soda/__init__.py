"""SODA 1.0: cutouts of FITS images.

What clients ask for, where it lies in an image, and how it is cut out.
"""
