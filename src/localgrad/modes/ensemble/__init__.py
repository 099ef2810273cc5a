"""A million learning trajectories a second."""
