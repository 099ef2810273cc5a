"""Tasks in a closed loop: a network moves a plant, and hears where the plant is."""
