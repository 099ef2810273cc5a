"""Where learning comes to rest."""
