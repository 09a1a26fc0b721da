"""The contract between the core and its backends. A backend author needs this package alone."""
