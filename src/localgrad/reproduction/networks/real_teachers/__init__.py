"""Brain networks as teachers of full networks."""
