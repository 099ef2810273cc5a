"""The command line: words → the other rooms; tables and JSON."""
