"""A judge that reasons before it decides: library, command line and rewards."""
