"""Make the table of grid intensities from the npm package ``@tgwf/co2``.

Usage: ``npm pack @tgwf/co2``, unpack it, then ``python scripts/generate_intensity.py package``. The values are Ember's,
published under CC BY-SA 4.0; the table names them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "uws_service" / "accounting" / "intensity.csv"
COUNTRY = re.compile(r"[A-Z]{3}|WORLD")


def main(folder: Path) -> None:
    """Write the table."""
    text = (folder / "dist/cjs/data/average-intensities.min.js").read_text(encoding="utf-8")
    version = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
    values = json.loads(_object(text, "data"))
    lines = [
        "# Yearly mean grid intensities, life cycle. Data: Ember (https://ember-energy.org), CC BY-SA 4.0,",
        f"# as published in @tgwf/co2 {version}; made by scripts/generate_intensity.py.",
        "country,gco2e_per_kwh,source",
    ]
    for country, value in sorted(values.items()):
        if COUNTRY.fullmatch(country):
            lines.append(f"{country},{float(value)},Ember by @tgwf/co2 {version}")
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 3} countries")


def _object(text: str, name: str) -> str:
    match = re.search(rf"const {name} = (\{{[^}}]*\}}|\"[^\"]*\");", text)
    if match is None:
        raise SystemExit(f"no {name} in the package")
    return match[1]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
