#!/usr/bin/env python
"""Django's command line for NIJA."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nija.settings")
    if sys.argv[1:2] == ["up"]:
        # It decides the environment that settings are read from, so it comes before them.
        from nija import launch

        sys.exit(launch.main(sys.argv[2:]))
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, OperationalError) as error:
        if "--traceback" in sys.argv:
            raise
        what = "" if isinstance(error, ImproperlyConfigured) else "the database does not answer as it should: "
        sys.exit(f"nija: {what}{str(error).strip()}")


if __name__ == "__main__":
    main()
