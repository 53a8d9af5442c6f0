"""Where the macros of this adapter lie."""

import os

PACKAGE_PATH = os.path.dirname(__file__)
