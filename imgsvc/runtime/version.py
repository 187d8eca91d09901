"""The version, also where nothing is installed: a checkout, or an archive."""

VERSION = "0.1.0"
