"""Which imperfections of errors, feedback and traces matter, and how much."""
