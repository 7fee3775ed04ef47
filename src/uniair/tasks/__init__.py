"""What the networks are trained for and asked."""
