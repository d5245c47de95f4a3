"""Get what the tests of a release need.

``python -m tests.release``: the packages; ``image``: the image; ``same``: two images, which must be alike.
"""

from __future__ import annotations

import sys

from tests.release import image, packages


def main(word: str) -> int:
    """Do one of these; exit status 1 if two images differ."""
    if word == "same":
        differences = image.compare()
        print("\n".join(differences) or "the two images have the same bytes")
        return 1 if differences else 0
    print(image.build() if word == "image" else packages.download())
    return 0


if __name__ == "__main__":
    sys.exit(main((sys.argv[1:] or [""])[0]))
