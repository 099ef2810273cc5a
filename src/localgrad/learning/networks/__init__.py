"""Networks of cells: sampled training on sequence tasks under any rule, with records along the way."""
