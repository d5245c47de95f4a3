"""Entry of the agent for processes on this machine.

``python -I -S local.py WORKDIR``.

Kept tiny, since Python compiles the script that it is given anew each time, but caches what that imports.
"""

import os
import sys

if __name__ == "__main__":
    # Whatever the service had open by accident must not stay open in the job, least of all its listening socket.
    os.closerange(3, 1 << 16)
    # At the end of the path: nothing beside the package can shadow the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from uws_service.agent.supervisor import main

    sys.exit(main(sys.argv[1]))
