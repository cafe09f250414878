"""What is true: results, states and names, by the standard library alone."""
