"""``python -m uws_service``: the command line."""

from uws_service.cli import main

if __name__ == "__main__":
    main()
