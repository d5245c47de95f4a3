"""The checks; each module is named after the sections of the standard that it walks through."""
