"""Call Rucio's own client: a list of ``[method, arguments, options]`` comes in, a list of answers goes out, as JSON.

Runs in Rucio's own environment. What exists already is no error.
"""

from __future__ import annotations

import json
import sys
from types import GeneratorType

from rucio.client import Client
from rucio.common.exception import Duplicate

if __name__ == "__main__":
    client = Client()
    answers = []
    for method, arguments, options in json.load(sys.stdin):
        try:
            answer = getattr(client, method)(*arguments, **options)
        except Duplicate:
            answer = None
        answers.append(list(answer) if isinstance(answer, GeneratorType) else answer)
    json.dump(answers, sys.stdout, default=str)
